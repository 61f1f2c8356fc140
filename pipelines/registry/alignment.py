"""MLflow's aliases follow the journal. Nothing is decided here, so nothing is journalled."""

from __future__ import annotations

import logging

from pipelines import database, mlflow_store
from pipelines.contracts import Blocked, Value
from pipelines.registry.standing import Standing, standing_in
from pipelines.registry.versions import CHALLENGER_ALIAS, CHAMPION, whom_to_ask
from pipelines.settings import Settings
from pipelines.spec import Model

_log = logging.getLogger(__name__)


class Alignment(Value):
    """What was done to the aliases of a model.

    Attributes:
        champion: version at which the alias is now; None when there is no champion.
        changes: in words; empty when the aliases were as the journal says.
    """

    model: str
    champion: int | None
    changes: tuple[str, ...]


def align(settings: Settings, model: Model) -> Alignment:
    """Put the alias `champion` where the journal says, and take the challenger aliases off the champion.

    One process at a time, each by the journal as it is then, so that the last promotion's alias is the one that stays.

    Raises:
        Blocked: the journal is not as it was written, or the registry no longer holds the champion.
        ConnectionBroken: the database or the registry did not answer; run again.
    """
    with database.transaction(settings) as connection:
        database.lock(connection, f"aliases {model.name}")
        said = standing_in(connection, model.name)
        aliases = mlflow_store.get_aliases(settings, model.name)
        changes = list(_champion_moves(settings, model, said, aliases.get(CHAMPION)))
        champion = said.version if said else None
        for alias, number in sorted(aliases.items()):
            if number == champion and CHALLENGER_ALIAS.fullmatch(alias):
                mlflow_store.delete_alias(settings, model.name, alias)
                changes.append(f"alias `{alias}` taken off version {number}")
    for change in changes:
        _log.warning("model %s: %s, as the journal says", model.name, change)
    return Alignment(model=model.name, champion=champion, changes=tuple(changes))


def _champion_moves(settings: Settings, model: Model, said: Standing | None, alias: int | None) -> list[str]:
    wanted = said.version if said else None
    if alias == wanted:
        return []
    if wanted is None:
        mlflow_store.delete_alias(settings, model.name, CHAMPION)
        return [f"alias `{CHAMPION}` removed from version {alias}"]
    held = [stored.version for stored in mlflow_store.versions(settings, model.name)]
    if wanted not in held:
        raise Blocked(
            f"model {model.name}: the journal says version {wanted} is champion, but the registry no longer holds it (it has "
            f"{held or 'none'}). No alias was changed. Restore it, or: python -m pipelines registry rollback "
            f"--model {model.name} --reason … --by …  {whom_to_ask(model)}"
        )
    mlflow_store.set_alias(settings, model.name, CHAMPION, wanted)
    return [f"alias `{CHAMPION}` set to version {wanted}" + (f" (it was at {alias})" if alias else "")]
