"""What the desk knows when a night begins, read inside the transaction that raises."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from typing import Any

from pipelines import database
from pipelines.aml.candidates import Desk, Earlier, Suppressed
from pipelines.aml.linking import Node, SchemeLink

PEOPLE = "('assigned', 'started', 'proposed', 'closed', 'reopened')"
LIVE = (
    "NOT EXISTS (SELECT FROM vigil.alert_event e WHERE e.alert_id = a.alert_id AND e.action = 'withdrawn') "
    "AND c.state <> 'withdrawn'"
)


def desk(connection: database.Connection, model: str, on: date) -> Desk:
    """Earlier alerts and suppressions of the model's customers that count on a business date."""
    return Desk(_earlier(connection, model), _suppressed(connection, model, on))


def _earlier(connection: database.Connection, model: str) -> dict[str, Earlier]:
    found = database.execute(
        connection,
        f"""SELECT DISTINCT ON (a.token) a.token, a.alert_id, c.state <> 'closed' AS is_open, a.probability, a.typologies,
            coalesce(string_to_array(a.review_reason, '; '), ARRAY[]::text[]) AS reasons,
            CASE WHEN c.state = 'closed' THEN greatest(a.business_date, c.at::date) ELSE a.business_date END AS rests_from
        FROM vigil.alert a JOIN vigil.case_now c USING (case_no)
        WHERE a.model = :model AND {LIVE}
        ORDER BY a.token, a.business_date DESC, a.run_no DESC""",
        model=model,
    )
    return {row["token"]: _as_earlier(row, row["rests_from"], is_open=row["is_open"]) for row in found}


def _as_earlier(row: Any, rests_from: date, *, is_open: bool) -> Earlier:
    return Earlier(
        alert_id=row["alert_id"],
        rests_from=rests_from,
        is_open=is_open,
        probability=row["probability"],
        typologies=frozenset(row["typologies"]),
        reasons=frozenset(row["reasons"]),
    )


def earlier_before(connection: database.Connection, model: str, first: date) -> dict[str, Earlier]:
    """The newest alert of each customer from before a date, as one that rests from its own business date."""
    found = database.execute(
        connection,
        f"""SELECT DISTINCT ON (a.token) a.token, a.alert_id, a.business_date, a.probability, a.typologies,
            coalesce(string_to_array(a.review_reason, '; '), ARRAY[]::text[]) AS reasons
        FROM vigil.alert a JOIN vigil.case_now c USING (case_no)
        WHERE a.model = :model AND a.business_date < :first AND {LIVE}
        ORDER BY a.token, a.business_date DESC, a.run_no DESC""",
        model=model,
        first=first,
    )
    return {row["token"]: _as_earlier(row, row["business_date"], is_open=False) for row in found}


def _suppressed(connection: database.Connection, model: str, on: date) -> dict[str, Sequence[Suppressed]]:
    found = database.execute(
        connection,
        "SELECT n.token, suppression_no, n.typology, s.probability, n.typologies FROM vigil.suppression_now n "
        "JOIN vigil.suppression s USING (suppression_no) WHERE n.model = :model AND n.from_date <= :on AND n.until_date >= :on "
        "AND coalesce(revoked_from > :on, true) "
        "ORDER BY suppression_no",
        model=model,
        on=on,
    )
    by_token: dict[str, list[Suppressed]] = defaultdict(list)
    for row in found:
        rule = Suppressed(row["suppression_no"], row["typology"], row["probability"], frozenset(row["typologies"]))
        by_token[row["token"]].append(rule)
    return dict(by_token)


def open_cases(connection: database.Connection, model: str) -> list[Node]:
    """Cases that a new alert may join, with the customers and schemes of their alerts."""
    alerts = database.execute(
        connection,
        f"""SELECT a.case_no, a.token, a.alert_id FROM vigil.alert a JOIN vigil.case_now c USING (case_no)
        WHERE a.model = :model AND c.state IN ('new', 'assigned', 'in_review') AND {LIVE} ORDER BY a.case_no""",
        model=model,
    )
    schemes = _schemes(connection, [row["alert_id"] for row in alerts])
    tokens: dict[int, set[str]] = defaultdict(set)
    links: dict[int, dict[str, SchemeLink]] = defaultdict(dict)
    for row in alerts:
        tokens[row["case_no"]].add(row["token"])
        links[row["case_no"]] |= {scheme.scheme_id: scheme for scheme in schemes.get(row["alert_id"], ())}
    return [Node(str(no), frozenset(found), tuple(links[no].values()), case_no=no) for no, found in tokens.items()]


def _schemes(connection: database.Connection, alert_ids: Sequence[str]) -> dict[str, list[SchemeLink]]:
    found = database.execute(
        connection,
        "SELECT * FROM vigil.alert_scheme WHERE alert_id = ANY(:ids) ORDER BY alert_id, scheme_id",
        ids=list(alert_ids),
    )
    links: dict[str, list[SchemeLink]] = defaultdict(list)
    for row in found:
        links[row["alert_id"]].append(_link(row))
    return links


def _link(row: Any) -> SchemeLink:
    return SchemeLink(row["scheme_id"], row["kind"], frozenset(row["accounts"]), row["first_on"], row["last_on"])
