"""Pages of the desk for people: a case with its reasons, the line, a replay. Accounts are shown by the start of their token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.aml.bounds import Yield
from pipelines.aml.cases import CaseAlert, CaseFile
from pipelines.aml.lines import Lines, Missed
from pipelines.aml.replay import Replay

_SHOWN = 8
_WIDTH_OF_A_LOG = 150


def print_case(found: CaseFile, most: int) -> None:
    """A case, alert by alert: why, with what, and what happened to it."""
    case, console = found.case, _console()
    outcome = f", outcome {case.outcome}" if case.outcome else f", proposed {case.proposed}" if case.proposed else ""
    console.print(
        f"Case {case.case_no} of {case.model}: {case.state}{outcome}; with {case.assignee or 'nobody'}; opened for "
        f"{case.business_date}; version {case.version}; {case.customers} customers, {case.alerts} alerts"
    )
    for alert in found.alerts:
        _print_alert(console, alert, most)
    events = [
        (e.version, e.at.strftime("%Y-%m-%d %H:%M"), e.action, e.outcome, e.by, e.assignee, e.note)
        for e in found.events
    ]
    _table(console, "Story", ("version", "at", "what", "outcome", "by", "assigned to", "note"), events)
    others = [(c.case_no, c.business_date, c.state, c.outcome, c.assignee) for c in found.other_cases]
    if others:
        _table(console, "Other cases of these customers", ("case", "opened for", "state", "outcome", "with"), others)


def _print_alert(console: Console, alert: CaseAlert, most: int) -> None:
    kept = alert.evidence
    mark = f" ({alert.mark}: its batch was corrected)" if alert.mark else ""
    console.rule(f"Alert {alert.alert_id} of {alert.business_date}{mark}", align="left")
    console.print(
        f"Customer {alert.token}, segment {alert.segment}; bookings after {kept['after']} up to {kept['up_to']}"
    )
    shares = ", ".join(f"{name} {share:.0%}" for name, share in kept["share_of_parts"].items())
    for line in (
        f"The score rests on: {shares}" if shares else "",
        f"Missing input: {alert.review_reason}" if alert.review_reason else "",
        *(f"Note: {note}" for note in kept["notes"]),
    ):
        if line:
            console.print(line)
    _table(
        console,
        "Typologies met",
        ("typology", "transactions", "amount in and out", "from", "to", "note"),
        [
            (t["title"], t["transactions"], _money(t["amount"]), _on(t["first_at"]), _on(t["last_at"]), t["note"])
            for t in kept["typologies"]
        ],
    )
    _table(
        console,
        "All bookings of the window",
        ("direction", "currency", "transactions", "amount"),
        [(t["direction"], t["currency"], f"{t['transactions']:,}", _money(t["amount"])) for t in kept["totals"]],
    )
    _print_transactions(console, kept, most)
    _print_subgraph(console, kept, most)


def _print_transactions(console: Console, kept: dict[str, Any], most: int) -> None:
    listed = kept["transactions"]
    first = sorted(listed, key=lambda t: not t["why"])[:most]  # what a typology or scheme names, before the rest
    rows = [
        (
            t["booked_at"][:16].replace("T", " "),
            t["direction"],
            f"{_money(t['amount'])} {t['currency'] or ''}",
            t["channel"],
            t["country"],
            _short(t["counterparty_token"]),
            ", ".join(t["why"]),
        )
        for t in sorted(first, key=lambda t: (t["booked_at"], t["transaction_token"]))
    ]
    title = f"Transactions: {len(rows):,} of {kept['transactions_total']:,}"
    _table(console, title, ("booked", "direction", "amount", "channel", "country", "counterparty", "why"), rows)


def _print_subgraph(console: Console, kept: dict[str, Any], most: int) -> None:
    schemes = [
        (
            s["kind"],
            len(s["accounts"]),
            s["payments"],
            _money(s["amount"]),
            _on(s["first_at"]),
            _on(s["last_at"]),
            s["scheme_id"],
        )
        for s in kept["schemes"][:most]
    ]
    title = f"Schemes: {len(schemes):,} of {len(kept['schemes']):,}"
    _table(console, title, ("kind", "accounts", "payments", "amount", "from", "to", "scheme"), schemes)
    own = {m["account_token"] for m in kept["members"] if m["own"]}
    part = {m["account_token"]: m["part"] for m in kept["members"] if m["part"]}

    def name(token: str) -> str:
        return _short(token) + (" (own)" if token in own else "") + (f" [{part[token]}]" if token in part else "")

    edges = sorted(kept["edges"], key=lambda e: (not e["of_scheme"], -float(e["amount"]), e["payer"], e["payee"]))[
        :most
    ]
    rows = [
        (
            name(e["payer"]),
            name(e["payee"]),
            e["payments"],
            _money(e["amount"]),
            _on(e["first_at"]),
            _on(e["last_at"]),
            "yes" if e["of_scheme"] else "",
        )
        for e in edges
    ]
    title = f"Subgraph: {len(kept['members']):,} accounts, {len(rows):,} of {kept['edges_total']:,} edges"
    _table(console, title, ("from account", "to account", "payments", "amount", "from", "to", "in a scheme"), rows)


def print_lines(found: Lines) -> None:
    """Above and below the line, by segment."""
    console = _console()
    what = f", typology {found.typology}" if found.typology else ""
    what += f", scores from {found.threshold}" if found.threshold is not None else ""
    title = (
        f"{found.model}: above and below the line, {found.first_date} to {found.last_date}, {found.nights} nights{what}; "
        f"bounds at {found.confidence:.0%}"
    )
    rows = [
        (
            *(s.segment, s.above.customers, _yield(s.above.found), s.below.customers, s.below.looked_at),
            *(_yield(s.below.found), s.missed.not_looked_at, _missed(s.missed)),
        )
        for s in found.segments
    ]
    columns = (
        "segment",
        "above",
        "yield above",
        "below",
        "drawn",
        "yield below",
        "not drawn",
        "missed (bounds)",
    )
    _table(console, title, columns, rows)
    if found.reports is not None:
        reports = [(r.segment, r.alerted, r.filed.known, _yield(r.filed)) for r in found.reports]
        _table(console, "Reports filed", ("segment", "alerted", "closed", "reports"), reports)


def print_replay(found: Replay) -> None:
    """Before and after, night by night and in sum."""
    console = _console()
    change = "; ".join(f"{key}: {before} -> {after}" for key, (before, after) in found.change.items())
    nights = [(n.business_date, n.raised, n.before, n.after, n.gained, n.lost) for n in found.nights]
    columns = ("business date", "really raised", "before", "after", "gained", "lost")
    _table(console, f"Replay {found.replay_no} of {found.model}: {change}", columns, nights)
    groups = [("gained", found.gained), ("lost", found.lost), ("on both sides", found.both)]
    rows = [
        (name, g.customers, ", ".join(f"{s} {n}" for s, n in g.by_segment.items()), g.known.known, _yield(g.known))
        for name, g in groups
    ]
    _table(console, "Customers", ("", "customers", "by segment", "outcome known", "productive"), rows)
    section = [key for key in found.change if key != "typologies"]
    made = (
        f"make the change of {', '.join(section)} in the policy's section `alerts`, give the policy a new version, and "
    )
    console.print(f"To go live: {made if section else ''}put `replay: {found.replay_no}` into that section.")
    if "typologies" in found.change:
        console.print("The pack goes live with a version that was trained with it.")


def _console() -> Console:
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_LOG
    return console


def _table(console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    if table.row_count:
        console.print(table)


def _yield(found: Yield) -> str:
    if found.rate is None:
        return "unknown"
    return f"{found.productive}/{found.known} = {found.rate:.0%} ({found.at_least:.0%} to {found.at_most:.0%})"


def _missed(missed: Missed) -> str:
    """Never without its bounds: nothing found among few says little."""
    expected = "unknown" if missed.expected is None else f"{missed.expected:.1f}"
    return f"{expected} ({missed.at_least:.1f} to {missed.at_most:.1f})"


def _money(amount: str) -> str:
    return f"{float(amount):,.2f}"


def _on(at: str | None) -> str:
    return at[:10] if at else ""


def _short(token: str | None) -> str:
    return token[:_SHOWN] if token else ""
