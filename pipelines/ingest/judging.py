"""Whether a delivery as a whole is what was expected: right date, right types, enough good rows, the sender's totals."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipelines.contracts import Blocked, Manifest
from pipelines.database import Connection
from pipelines.ingest import records
from pipelines.ingest.faults import Unreadable, sentence
from pipelines.ingest.rules import period
from pipelines.ingest.staging import Staged
from pipelines.spec import Contract

_SHOWN_REASONS = 5


def require_own_delivery(connection: Connection, contract: Contract, business_date: date, staged: Staged) -> None:
    """Raise Unreadable when the very same bytes are published for another date. Empty deliveries are all alike."""
    delivery = staged.delivery
    if not delivery.whole or contract.business_date.cadence == "once" or staged.counts.rows_in == 0:
        return
    others = [d for d in records.dates_of_delivery(connection, contract.source, delivery.digest) if d != business_date]
    if others:
        raise Unreadable(
            f"{delivery.origin} is byte for byte the delivery published for {others[0]}: an old file came again.",
            f"Ask the sender for the file of {business_date}.",
        )


def require_whole(contract: Contract, business_date: date, staged: Staged) -> None:
    """Raise Unreadable when the fault is the file's and not its rows': no row, another date's file, a retyped column."""
    counts, origin = staged.counts, staged.delivery.origin
    if counts.rows_in == 0:
        if contract.may_be_empty:
            return
        raise Unreadable(
            f"{origin} holds no row of this date.",
            "Ask the sender for the rows; if such a date is normal for this source, set `may_be_empty: true`.",
        )
    if counts.quarantined_fraction <= contract.max_quarantined_fraction:
        return
    retyped = staged.failed_columns()
    if retyped:
        kinds = ", ".join(
            f"{name} (delivered as {staged.opened.types[name]}, agreed as {contract.columns[name].type})"
            for name in retyped
        )
        raise Unreadable(
            f"{origin}: not one value parses in {kinds}. The column was retyped.",
            "Ask the sender for the agreed type, or correct `type`, `format` or `strip` in the contract.",
        )
    first, last = period(contract, business_date)
    found = staged.dates_delivered() if staged.delivery.whole else []
    if contract.business_date.cadence != "once" and found and not any(first <= day <= last for day in found):
        raise Unreadable(
            f"{origin} is another date's file: its rows are of {_range(found)}.",
            f"Ask the sender for the file of {business_date}.",
        )


def require_sender_agrees(contract: Contract, business_date: date, staged: Staged) -> None:
    """Compare rows and totals with the sender's control file, if the contract names one.

    A total agrees when it rounds to the digits the sender gave; quarantined rows count.

    Raises:
        Blocked: a number differs, or one the contract totals is not in the control file.
    """
    if staged.delivery.control is None:
        return
    told = _read_control(staged.delivery.control)
    wrong = []
    if int(told["rows"]) != staged.counts.rows_in:
        wrong.append(f"rows: the sender counts {told['rows']}, the delivery has {staged.counts.rows_in}")
    for name, found in staged.delivered_totals(contract.totals).items():
        sent = told["totals"].get(contract.columns[name].source_name or name)
        if sent is None:
            wrong.append(f"total of {name}: not in the control file")
        elif abs(Decimal(found) - sent) > _half_a_digit(sent):
            wrong.append(f"total of {name}: the sender has {sent}, the delivery {found:.6f}")
    if wrong:
        problem = f"the sender's control file disagrees with {staged.delivery.origin}: {'; '.join(wrong)}."
        raise Blocked(sentence(contract, business_date, problem, "Ask the sender for both files again."))


def require_acceptable(contract: Contract, manifest: Manifest) -> None:
    """Raise Blocked when more rows are quarantined than the contract allows, or no good row is left."""
    fraction = manifest.rows_quarantined / manifest.rows_in if manifest.rows_in else 0.0
    none_left = manifest.rows_in > 0 and manifest.rows_published == 0
    if fraction <= contract.max_quarantined_fraction and not none_left:
        return
    reasons = list(manifest.quarantine_reasons.items())[:_SHOWN_REASONS]
    listed = ", ".join(f"{reason} {count:,}" for reason, count in reasons)
    remedy = (
        f"See the rows: python -m pipelines quarantine --source {contract.source} --date {manifest.business_date}. "
        "Ask the sender for a corrected file."
    )
    if reasons and reasons[0][0] == "row:encoding":
        remedy += " So many broken characters mean another encoding: compare `encoding` in the contract."
    problem = (
        f"{manifest.rows_quarantined:,} of {manifest.rows_in:,} rows ({fraction:.2%}) broke a rule, and the contract "
        f"allows {contract.max_quarantined_fraction:.2%}: {listed}."
    )
    raise Blocked(sentence(contract, manifest.business_date, problem, remedy))


def _read_control(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal, parse_int=Decimal)
        return {"rows": Decimal(told["rows"]), "totals": {k: Decimal(v) for k, v in told.get("totals", {}).items()}}
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError):
        raise Unreadable(
            "the sender's control file is not JSON of the form {rows: N, totals: {column: sum}}.",
            "Ask the sender for the control file again.",
        ) from None


def _half_a_digit(sent: Decimal) -> Decimal:
    exponent = sent.as_tuple().exponent
    return Decimal(5).scaleb((exponent if isinstance(exponent, int) else 0) - 1)


def _range(days: list[date]) -> str:
    return str(days[0]) if len(days) == 1 else f"{days[0]} to {days[-1]}"
