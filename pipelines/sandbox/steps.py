"""Create, refresh, drop and list sandboxes, with production's credentials. Each is noted in vigil.sandbox_event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import Field

from pipelines import database
from pipelines.contracts import Blocked, DataFault, Value
from pipelines.database import Connection
from pipelines.registry.persons import person
from pipelines.sandbox import content, login
from pipelines.sandbox.place import Place, clear, write_file
from pipelines.settings import Settings


class SandboxState(Value):
    """One sandbox.

    Attributes:
        records: records of sources copied by this call.
        champions: by model, which version of production was copied, or why none.
        isolated: False when its login can reach more than its own databases; None when it was not looked at.
    """

    name: str
    action: str
    by: str
    at: datetime
    home: Path
    lake: str
    records: int = 0
    champions: Mapping[str, str] = Field(default_factory=dict)
    isolated: bool | None = None


def create(settings: Settings, name: str, *, by: str, home: Path | None = None) -> SandboxState:
    """Make a sandbox with what production has now. One that a killed call left half made is made anew.

    Args:
        home: folder for what its commands keep on this machine; by default `sandboxes/<name>` in production's home.

    Raises:
        Blocked: there is one of that name, this login may not make one, or the new login would not be shut in.
        DataFault: the name or the person cannot be one.
        ConnectionBroken: the database, the lake or the registry did not answer; nothing is left.
    """
    place = Place(settings, name, (home or settings.home / "sandboxes" / name).resolve())
    by = person(by)
    _require_production(settings)
    with _alone(settings, name) as guard, database.outside_transactions(settings.database_url) as admin:
        if _newest(guard, name) is not None:
            raise Blocked(
                f"the sandbox {name} is there already. Nothing was changed. See: python -m pipelines sandbox list"
            )
        login.require_allowed(admin)
        clear(place)
        login.remove(admin, place)
        try:
            password = login.make(admin, place)
            write_file(place, password)
            content.migrate(place)
            content.number_apart(place.settings(password))
            records, champions = _filled(place, password)
        except BaseException:
            login.remove(admin, place)
            clear(place)
            raise
        made = _note(guard, place, "created", by)
    return made.model_copy(update={"records": records, "champions": champions, "isolated": True})


def refresh(settings: Settings, name: str, *, by: str) -> SandboxState:
    """Bring a sandbox's tables to this version, give it a new password, and what production took in since.

    A champion it has stays, so that what was compared with it still holds. Raises as `create` does.
    """
    by = person(by)
    _require_production(settings)
    with _alone(settings, name) as guard, database.outside_transactions(settings.database_url) as admin:
        place = _there(settings, guard, name)
        login.require_isolated(admin, place)
        password = login.renew_password(admin, place)
        content.migrate(place)
        write_file(place, password)
        records, champions = _filled(place, password)
        made = _note(guard, place, "refreshed", by)
    return made.model_copy(update={"records": records, "champions": champions, "isolated": True})


def drop(settings: Settings, name: str, *, by: str) -> SandboxState:
    """Remove a sandbox: login, databases, what its commands kept in its home, and its lake prefix when that is a folder.

    Whatever else is in its home is a person's and stays. Raises Blocked when there is no such sandbox.
    """
    by = person(by)
    _require_production(settings)
    with _alone(settings, name) as guard, database.outside_transactions(settings.database_url) as admin:
        place = _there(settings, guard, name)
        login.remove(admin, place)
        clear(place)
        return _note(guard, place, "dropped", by)


def listed(settings: Settings) -> list[SandboxState]:
    """The sandboxes there are, by name, each looked at again: whether its login is still shut in."""
    _require_production(settings)
    names = [row["name"] for row in database.rows(settings, "SELECT DISTINCT name FROM vigil.sandbox_event ORDER BY 1")]
    with database.transaction(settings) as connection:
        states = [state for name in names if (state := _newest(connection, name)) is not None]
        return [_looked_at(settings, connection, state) for state in states]


def _looked_at(settings: Settings, connection: Connection, state: SandboxState) -> SandboxState:
    place = Place(settings, state.name, state.home)
    isolated = login.exists(connection, place) and not (
        login.reachable(connection, place) or login.memberships(connection, place)
    )
    return state.model_copy(update={"lake": place.lake, "isolated": isolated})


def _filled(place: Place, password: str) -> tuple[int, dict[str, str]]:
    sandbox = place.settings(password)
    try:
        return content.copy_records(place.production, sandbox), content.copy_champions(place.production, sandbox)
    finally:
        database.engine(sandbox.database_url).dispose()


@contextmanager
def _alone(settings: Settings, name: str) -> Iterator[Connection]:
    with database.transaction(settings) as connection:
        database.lock(connection, f"sandbox {name}")
        yield connection


def _there(settings: Settings, connection: Connection, name: str) -> Place:
    state = _newest(connection, name)
    if state is None:
        raise DataFault(f"there is no sandbox {name}. Nothing was changed. See: python -m pipelines sandbox list")
    return Place(settings, name, state.home)


def _newest(connection: Connection, name: str) -> SandboxState | None:
    """What was done last with the sandbox; None when there is none."""
    found = database.execute(
        connection,
        "SELECT name, action, by, at, home FROM vigil.sandbox_event WHERE name = :name ORDER BY event_no DESC LIMIT 1",
        name=name,
    )
    if not found or found[0]["action"] == "dropped":
        return None
    return SandboxState(**found[0], lake="")


def _note(connection: Connection, place: Place, action: str, by: str) -> SandboxState:
    [row] = database.execute(
        connection,
        "INSERT INTO vigil.sandbox_event (name, action, home, by) VALUES (:name, :action, :home, :by) "
        "RETURNING name, action, by, at, home",
        name=place.name,
        action=action,
        home=str(place.home),
        by=by,
    )
    return SandboxState(**row, lake=place.lake)


def _require_production(settings: Settings) -> None:
    if settings.environment == "sandbox":
        raise Blocked(
            "this is a sandbox, and it cannot make, change or list sandboxes. Nothing was done. A platform engineer runs the "
            "command with production's settings."
        )
