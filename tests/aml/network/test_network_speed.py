"""The benchmark's network in small: everything is found in it, in little time. benchmarks/README.md has the large figures."""

from __future__ import annotations

import time

from network_bank import limits

from benchmarks.network import ON, connection_to, exponent, write
from pipelines.aml.network import FEATURES, customer_features


def test_a_hundred_thousand_bookings_take_seconds(tmp_path) -> None:
    write(tmp_path, 100_000, customers=5_000)
    with connection_to(str(tmp_path)) as connection:
        start = time.process_time()
        table = connection.sql(customer_features(connection, ON, limits())).to_arrow_table()
        spent = time.process_time() - start
        counts = dict(connection.execute("SELECT reason, rows FROM network_count").fetchall())
        kinds = {kind for (kind,) in connection.execute("SELECT DISTINCT kind FROM scheme").fetchall()}
    assert spent < 30, f"{spent:.0f} s of processor time for 100,000 rows; 10,000,000 took 52"
    assert table.column_names == ["customer_token", *FEATURES]
    assert table.num_rows == 5_000
    assert counts["payments"] + counts["second_booking"] == 100_000
    assert "cycle" in kinds


def test_the_exponent_of_a_line_is_one() -> None:
    assert exponent([1, 10, 100], [3, 30, 300]) == 1
