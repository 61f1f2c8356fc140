"""When a step of a model last ended well on a business date, also when it found nothing left to do.

A publication alone does not tell: a night that is run again and finds its batch published has been made good too.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pipelines import database
from pipelines.settings import Settings

Step = Literal["train", "publish", "materialise", "raise_alerts", "release"]


def record(connection: database.Connection, model: str, step: Step, business_date: date) -> None:
    """Note the end of a step inside the caller's transaction; the time is that of the transaction's start."""
    database.execute(
        connection,
        "INSERT INTO vigil.completion (model, step, business_date) VALUES (:model, :step, :day) "
        "ON CONFLICT (model, step, business_date) DO UPDATE SET completed_at = now()",
        model=model,
        step=step,
        day=business_date,
    )


def completed(settings: Settings, model: str, step: Step) -> dict[date, datetime]:
    """When the step of the model last ended well, by business date."""
    found = database.rows(
        settings,
        "SELECT business_date, completed_at FROM vigil.completion WHERE model = :model AND step = :step",
        model=model,
        step=step,
    )
    return {row["business_date"]: row["completed_at"] for row in found}
