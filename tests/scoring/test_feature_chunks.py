"""Feature chunks on their way out of the lake: all rows once, in the types the model needs, or a sentence that says why not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pyarrow as pa
import pytest
from small_night import MODEL, night

from pipelines.contracts import DataFault
from pipelines.scoring.stream import feature_chunks, read_ahead
from pipelines.settings import Settings

DAY = date(2026, 6, 30)


def test_all_rows_come_once_in_chunks_of_the_size_asked_for(bank: Settings) -> None:
    snapshot = night(bank, DAY, 1_300)
    chunks = list(feature_chunks(bank, MODEL, snapshot))
    assert [chunk.num_rows for chunk in chunks] == [512, 512, 276]
    assert chunks[0].schema.names == ["account_token", "utilisation", "income", "trend", "product"]
    assert len({token for chunk in chunks for token in chunk["account_token"].to_pylist()}) == 1_300


def test_whole_numbers_are_taken_as_numbers(bank: Settings) -> None:
    snapshot = night(bank, DAY, 10, changed={"trend": pa.array([1, None] * 5, pa.int32())})
    [chunk] = feature_chunks(bank, MODEL, snapshot)
    assert chunk["trend"].type == pa.float64()
    assert chunk["trend"].null_count == 5


def test_a_feature_of_another_kind_is_named(bank: Settings) -> None:
    snapshot = night(bank, DAY, 10, changed={"trend": pa.array(["up"] * 10)})
    with pytest.raises(DataFault, match="'trend' is string in the feature rows, double is needed"):
        list(feature_chunks(bank, MODEL, snapshot))


def test_a_feature_that_was_not_built_is_named(bank: Settings) -> None:
    snapshot = night(bank, DAY, 10)
    asked = MODEL.model_copy(
        update={"features": {"behaviour": {**MODEL.features["behaviour"], "age": MODEL.feature["trend"]}}}
    )
    with pytest.raises(DataFault, match="the feature rows have no 'age'; have account_token, utilisation"):
        list(feature_chunks(bank, asked, snapshot))


def test_reading_ahead_keeps_order_and_passes_errors_on() -> None:
    def chunks() -> Iterator[pa.RecordBatch]:
        for number in range(3):
            yield pa.record_batch({"n": [number]})
        raise DataFault("the file ends here")

    coming = read_ahead(chunks())
    assert [next(coming)["n"][0].as_py() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataFault, match="the file ends here"):
        next(coming)
