"""Suppressions: a customer, or one typology for a customer, is not alerted for a while. Never longer than the policy says.

The customer is still scored and counted. A typology not met when the suppression was made, a score whose odds rose by the
policy's share, or missing input break through. A suppression is never changed; it ends by its date or is revoked.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

import duckdb

from pipelines import database
from pipelines.aml.desk import acting, readable_by_all
from pipelines.aml.limits import limits_of, policy_of
from pipelines.contracts import DataFault, Value
from pipelines.lake import Lake, connect
from pipelines.registry.persons import person
from pipelines.scoring.publish import scores_table
from pipelines.settings import Settings
from pipelines.spec import Model

_SHORTEST_REASON = 10


class Suppression(Value):
    """A suppression and, when it was revoked, by whom.

    Attributes:
        typology: None suppresses whatever the customer meets.
        until_date: last business date on which it holds.
        typologies: those that the customer met when it was made; another one breaks through.
    """

    suppression_no: int
    model: str
    token: str
    typology: str | None
    reason: str
    from_date: date
    until_date: date
    typologies: tuple[str, ...]
    by: str
    at: datetime
    revoked_by: str | None
    revoked_from: date | None
    revoked_because: str | None


_COLUMNS = ", ".join(Suppression.model_fields)


def suppress(
    settings: Settings,
    model: Model,
    token: str,
    *,
    from_date: date,
    until_date: date,
    reason: str,
    by: str,
    typology: str | None = None,
) -> Suppression:
    """Suppress a customer from a business date on.

    Raises:
        DataFault: too long, without a reason, for a customer who was not scored by then, for a typology not met then, or one
            like it is there already: two would have to be revoked.
        Blocked: nothing was published, or the policy has no alerts section.
    """
    who, why = person(by), readable_by_all(reason)
    most = limits_of(policy_of(settings, model, from_date), model).suppression_max_days
    if not from_date < until_date <= from_date + timedelta(days=most):
        raise DataFault(
            f"a suppression from {from_date} ends after that and by {from_date + timedelta(days=most)} ({most} days, policy "
            f"{model.policy}), not on {until_date}. Nothing was changed."
        )
    if len(why) < _SHORTEST_REASON:
        raise DataFault(f"say why, in at least {_SHORTEST_REASON} characters, with --reason. Nothing was changed.")
    probability, met = _score(settings, model, token, from_date)
    if typology is not None and typology not in met:
        raise DataFault(
            f"customer {token} does not meet {typology!r} on the newest published date up to {from_date}; met: "
            f"{', '.join(met) or 'none'}. Nothing was changed."
        )
    with acting(settings) as connection:
        database.lock(connection, f"suppress {model.name} {token}")
        _require_alone(connection, model, token, typology, from_date, until_date)
        made = database.execute(
            connection,
            "INSERT INTO vigil.suppression (model, token, typology, reason, from_date, until_date, probability, typologies, "
            "by) VALUES (:model, :token, :typology, :reason, :from_date, :until_date, :probability, :typologies, :by) "
            "RETURNING suppression_no",
            model=model.name,
            token=token,
            typology=typology,
            reason=why,
            from_date=from_date,
            until_date=until_date,
            probability=probability,
            typologies=list(met),
            by=who,
        )
        return _one(connection, made[0]["suppression_no"])


def revoke(settings: Settings, suppression_no: int, *, from_date: date, reason: str, by: str) -> Suppression:
    """End a suppression from a business date on. Raises DataFault when there is none or it was revoked before."""
    who, why = person(by), readable_by_all(reason)
    if not why:
        raise DataFault("say why, with --reason. Nothing was changed.")
    with acting(settings) as connection:
        database.lock(connection, f"suppression {suppression_no}")
        before = _one(connection, suppression_no)
        if before.revoked_by is not None:
            raise DataFault(f"suppression {suppression_no} was revoked by {before.revoked_by}. Nothing was changed.")
        database.execute(
            connection,
            "INSERT INTO vigil.suppression_revocation (suppression_no, reason, from_date, by) "
            "VALUES (:no, :reason, :from_date, :by)",
            no=suppression_no,
            reason=why,
            from_date=from_date,
            by=who,
        )
        return _one(connection, suppression_no)


def suppressions(settings: Settings, model: Model, on: date | None = None) -> list[Suppression]:
    """Suppressions of a model, newest first; with a business date those that hold on it."""
    with acting(settings) as connection:
        found = database.execute(
            connection,
            f"SELECT {_COLUMNS} FROM vigil.suppression_now WHERE model = :model AND (CAST(:on AS date) IS NULL OR "
            "(from_date <= :on AND until_date >= :on AND coalesce(revoked_from > :on, true))) "
            "ORDER BY suppression_no DESC",
            model=model.name,
            on=on,
        )
    return [Suppression.model_validate(row) for row in found]


def _one(connection: database.Connection, suppression_no: int) -> Suppression:
    found = database.execute(
        connection, f"SELECT {_COLUMNS} FROM vigil.suppression_now WHERE suppression_no = :no", no=suppression_no
    )
    if not found:
        raise DataFault(f"there is no suppression {suppression_no}. `python -m pipelines suppressions` lists them.")
    return Suppression.model_validate(found[0])


def _require_alone(
    connection: database.Connection, model: Model, token: str, typology: str | None, first: date, last: date
) -> None:
    found = database.execute(
        connection,
        "SELECT suppression_no, until_date FROM vigil.suppression_now WHERE model = :model AND token = :token "
        "AND typology IS NOT DISTINCT FROM CAST(:typology AS text) AND from_date <= :last AND until_date >= :first "
        "AND coalesce(revoked_from > greatest(from_date, :first), true) ORDER BY suppression_no LIMIT 1",
        model=model.name,
        token=token,
        typology=typology,
        first=first,
        last=last,
    )
    if found:
        raise DataFault(
            f"suppression {found[0]['suppression_no']} of this customer, for the same, holds until {found[0]['until_date']}. "
            f"Nothing was changed. Begin after it, or revoke it first: python -m pipelines unsuppress "
            f"{found[0]['suppression_no']}"
        )


def _score(settings: Settings, model: Model, token: str, on: date) -> tuple[float, tuple[str, ...]]:
    """Score and typologies of a customer on the newest published date up to `on`."""
    with acting(settings) as desk:
        newest = database.execute(
            desk,
            "SELECT business_date, lake_version FROM vigil.published WHERE model = :model AND business_date <= :on "
            "ORDER BY business_date DESC LIMIT 1",
            model=model.name,
            on=on,
        )
    if newest:
        with connect(settings) as connection:
            day, version = newest[0]["business_date"], newest[0]["lake_version"]
            Lake(settings).scan(connection, "scores", scores_table(model.name), version=version, dates=[day])
            found = connection.execute(
                f"SELECT probability, {_met(connection)} FROM scores WHERE {model.token} = ?", [token]
            ).fetchone()
        if found is not None:
            return found[0], tuple(found[1].split("; ")) if found[1] else ()
    raise DataFault(
        f"customer {token} has no published score up to {on}, so nothing could break through a suppression. Nothing was "
        "changed. Give the token as `alerts` shows it."
    )


def _met(connection: duckdb.DuckDBPyConnection) -> str:
    there = {row[0] for row in connection.execute("DESCRIBE scores").fetchall()}
    return "coalesce(typologies_met, '')" if "typologies_met" in there else "''"
