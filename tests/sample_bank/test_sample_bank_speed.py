"""The bank is made at a small multiple of the time that random numbers of its shape take."""

from __future__ import annotations

from benchmarks.sample_bank import measure


def test_a_bank_takes_little_longer_than_random_numbers_of_its_shape() -> None:
    (taken,) = measure(250_000)
    assert taken.ours_s < 4 * taken.raw_s, taken
    assert taken.peak_mb < 1000
