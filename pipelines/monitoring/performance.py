"""How well published scores ranked what happened: each night whose outcomes are known by now, and all of them together.

Only rows with a known and final label count, and of those the ones that the label view judges. Top precision is what a team
sees that can look at so many a night: the customers (or another entity that the population carries) with the highest scores,
each by its highest; who was found on an earlier night of the range is not looked at again. With customers and 100 that is the
card precision of Le Borgne et al., Reproducible Machine Learning for Credit Card Fraud Detection (2022), section 4.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date

import duckdb
import numpy as np

from pipelines import features, scoring
from pipelines.contracts import DataFault, PublishedBatch, Value
from pipelines.evaluation import metrics
from pipelines.evaluation.metrics import Labels, Scores
from pipelines.features.views import source_table
from pipelines.lake import Lake, connect
from pipelines.scoring.publish import scores_table
from pipelines.settings import Settings
from pipelines.spec import Model


class NightPerformance(Value):
    """The published scores of one business date against what happened.

    Attributes:
        scored: rows published.
        known: of them, rows whose label is known and final.
        judged: of those, rows that the label view judges; the measures are over them.
        auc, average_precision: None where there is one class only.
        top_precision: share of the `top` highest that were events; None without a judged row.
    """

    model: str
    business_date: date
    version: int
    scored: int
    known: int
    judged: int
    events: int
    auc: float | None
    average_precision: float | None
    top: int
    top_precision: float | None


class RangePerformance(Value):
    """Several nights as one: measures over all their judged rows, and the mean top precision of the nights that have one."""

    model: str
    first: date
    last: date
    nights: int
    scored: int
    known: int
    judged: int
    events: int
    auc: float | None
    average_precision: float | None
    top: int
    top_precision: float | None


def performance(
    settings: Settings, model: Model, dates: Iterable[date], as_of: date, *, top: int, by: str | None = None
) -> tuple[tuple[NightPerformance, ...], RangePerformance]:
    """Measure the published nights among `dates` by the labels known and final on `as_of`.

    Args:
        top: how many a night are looked at.
        by: entity that is looked at, whose token the population carries; by default the model's own.

    Raises:
        DataFault: no date was published, no label was known, or the population does not carry the entity.
    """
    seen = [batch for on in sorted(dates) if (batch := scoring.published(settings, model, on)) is not None]
    if not seen:
        raise DataFault(f"model {model.name}: nothing is published on these dates, so nothing can be measured.")
    with connect(settings) as connection:
        first, last = seen[0].business_date, seen[-1].business_date
        connection.register("known", features.known_labels(settings, model, as_of, first, last))
        nights = list(_measured(settings, connection, model, seen, top, by))
    return tuple(night for night, _, _ in nights), _together(model, nights)


Measured = tuple[NightPerformance, Labels, Scores]


def _measured(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    model: Model,
    batches: Iterable[PublishedBatch],
    top: int,
    by: str | None,
) -> Iterator[Measured]:
    found: set[str] = set()
    for batch in batches:
        _scan_night(settings, connection, model, batch, by)
        ((known, judged),) = connection.execute("SELECT count(*), count(*) FILTER (judged) FROM night").fetchall()
        rows = connection.execute("SELECT label, probability FROM night WHERE judged ORDER BY token").fetchnumpy()
        label, probability = rows["label"].astype(np.int8), rows["probability"].astype(np.float64)
        looked_at = _highest(connection, top, found)
        yield (
            NightPerformance(
                model=model.name,
                business_date=batch.business_date,
                version=batch.model_version,
                scored=batch.rows_scored,
                known=known,
                judged=judged,
                events=int(label.sum()),
                **_ranking(label, probability),
                top=top,
                top_precision=sum(hit for _, hit in looked_at) / top if looked_at else None,
            ),
            label,
            probability,
        )
        found |= {token for token, hit in looked_at if hit}


def _scan_night(
    settings: Settings, connection: duckdb.DuckDBPyConnection, model: Model, batch: PublishedBatch, by: str | None
) -> None:
    """Table `night`: token, who is looked at, probability, label and judged of each published row with a known label."""
    lake, on, token = Lake(settings), batch.business_date, model.token
    lake.scan(connection, "scores", scores_table(model.name), version=batch.lake_version, dates=[on])
    lake.scan(connection, "population", source_table(model.population), dates=[on])
    asked = f"{by or model.entity}_token"
    if asked not in connection.table("population").columns:
        raise DataFault(
            f"the population {model.population} of model {model.name} carries no {asked}. Name another entity."
        )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE night AS SELECT s.{token} AS token, p.{asked} AS asked, s.probability, k.label, k.judged "
        f"FROM scores s JOIN known k ON s.{token} = k.{token} AND k.event_date = DATE '{on}' "
        f"JOIN population p ON s.{token} = p.{token} WHERE s.batch_id = '{batch.batch_id}'"
    )


def _highest(connection: duckdb.DuckDBPyConnection, top: int, found: set[str]) -> list[tuple[str, bool]]:
    """The highest judged of the night that were not found before, and whether an event was among their rows."""
    ranked = connection.execute(
        "SELECT asked, max(label) = 1 FROM night WHERE judged GROUP BY asked ORDER BY max(probability) DESC, asked"
    ).fetchall()
    return [(token, hit) for token, hit in ranked if token not in found][:top]


def _ranking(label: Labels, probability: Scores) -> dict[str, float | None]:
    if int(label.sum()) in (0, len(label)):
        return {"auc": None, "average_precision": None}
    return {
        "auc": metrics.auc(label, probability),
        "average_precision": metrics.average_precision(label, probability),
    }


def _together(model: Model, nights: list[Measured]) -> RangePerformance:
    single = [night for night, _, _ in nights]
    precisions = [night.top_precision for night in single if night.top_precision is not None]
    label, probability = (np.concatenate(parts) for parts in zip(*(rows for _, *rows in nights), strict=True))
    return RangePerformance(
        model=model.name,
        first=single[0].business_date,
        last=single[-1].business_date,
        nights=len(single),
        scored=sum(night.scored for night in single),
        known=sum(night.known for night in single),
        judged=sum(night.judged for night in single),
        events=sum(night.events for night in single),
        **_ranking(label, probability),
        top=single[0].top,
        top_precision=sum(precisions) / len(precisions) if precisions else None,
    )
