"""What a candidate is compared with: the present champion, verified and scored on the candidate's judged rows.

A model that never had a champion is compared with the best sibling of the same training instead, as a benchmark. One whose
champion cannot be used (retired, alias gone, permit expired) has no opponent: Blocked is passed on, so that nothing is
taken for "no worse than nobody".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import features, mlflow_store
from pipelines.contracts import Blocked, DataFault
from pipelines.evaluation.metrics import Dates, Scores
from pipelines.mlflow_store import StoredVersion
from pipelines.registry.standing import standing
from pipelines.registry.versions import CHAMPION, champion
from pipelines.settings import Settings
from pipelines.spec import Model
from pipelines.training import split
from pipelines.training.artefact import Predictor
from pipelines.training.provenance import Provenance
from pipelines.training.rows import Mask, rows_of, typed
from pipelines.training.trial import unseen
from pipelines.validation.candidate import Candidate, load_files

_AUC = "auc"


@dataclass(frozen=True)
class Opponent:
    """A loaded version and what it says of the candidate's judged rows.

    Attributes:
        benchmark: a sibling of the candidate, because the model never had a champion.
        matched: which of the candidate's judged rows could be given the opponent's features; the others are not compared.
        features: the opponent's features of the matched rows, in their order.
        probability: of the matched rows. In folds and of the same training set, each row by a model that had not seen it.
        learnt_from: how many matched rows it was fitted on; None when its training set cannot be made again.
    """

    version: int
    run_id: str
    artefact_digest: str
    benchmark: bool
    predictor: Predictor
    provenance: Provenance
    matched: Mask
    features: pa.Table
    probability: Scores
    learnt_from: int | None

    @property
    def role(self) -> str:
        return "benchmark" if self.benchmark else CHAMPION


def load_opponent(settings: Settings, model: Model, candidate: Candidate) -> Opponent | None:
    """The champion, and of a retired model the last one it had; of a model that never had one the best sibling of the candidate;
    None when there is none either.

    Raises:
        Blocked: a champion is expected and cannot be used, its files are not what its permit names, or its features of the
            judged rows cannot be made.
        DataFault: its record has another form than this code reads.
        ConnectionBroken: the database, the lake or the registry did not answer.
    """
    said = standing(settings, model.name)
    if said is not None and said.is_retired and said.previous is not None:
        return opponent_of(settings, model, candidate, said.previous)
    if said is not None or CHAMPION in mlflow_store.get_aliases(settings, model.name):
        return opponent_of(settings, model, candidate, champion(settings, model).version)
    sibling = _best_sibling(settings, model, candidate)
    return None if sibling is None else opponent_of(settings, model, candidate, sibling, benchmark=True)


def opponent_of(
    settings: Settings, model: Model, candidate: Candidate, version: int, *, benchmark: bool = False
) -> Opponent:
    """Any version of the model as opponent of the candidate. Raises as `load_opponent` does."""
    files = load_files(settings, model, version)
    provenance, predictor = files.provenance, files.predictor
    found, matched = _features(settings, candidate, version, predictor, provenance)
    same = _same_training(candidate.provenance, provenance)
    return Opponent(
        version=version,
        run_id=files.stored.run_id,
        artefact_digest=files.artefact_digest,
        benchmark=benchmark,
        predictor=predictor,
        provenance=provenance,
        matched=matched,
        features=found,
        probability=_unseen(candidate, provenance, found, matched)
        if same and candidate.in_folds
        else predictor.predict(found),
        learnt_from=0 if same else _learnt_from(settings, candidate, provenance, matched),
    )


def _best_sibling(settings: Settings, model: Model, candidate: Candidate) -> int | None:
    """The version of the same training set and another algorithm that ranked best when it was trained."""
    siblings = [v for v in mlflow_store.versions(settings, model.name) if _is_sibling(v, candidate)]
    ranked = [(mlflow_store.run_metrics(settings, v.run_id).get(_AUC, -np.inf), v.version) for v in siblings]
    return max(ranked)[1] if ranked else None


def _is_sibling(stored: StoredVersion, candidate: Candidate) -> bool:
    same_rows = stored.tags.get("vigil.training_set_digest") == candidate.provenance.training_set.digest
    return same_rows and stored.tags.get("vigil.algorithm") != candidate.provenance.algorithm


def _features(
    settings: Settings, candidate: Candidate, version: int, predictor: Predictor, provenance: Provenance
) -> tuple[pa.Table, Mask]:
    """The opponent's features of the judged rows that have them, and which rows these are."""
    if _has_all(candidate.model, provenance.model):
        rows = typed(candidate.judged.features, predictor.schema.features)
        return rows, np.ones(len(candidate.judged), bool)
    try:
        made = _made_again(settings, candidate, provenance.model)
    except DataFault as fault:
        raise Blocked(
            f"model {candidate.model.name}: version {version} takes features that version {candidate.version} does not, and "
            f"they cannot be made for the judged rows, so the two cannot be compared. {fault}"
        ) from fault
    position = pc.index_in(
        _keys(candidate.tokens, candidate.judged.event_date),
        _keys(made[candidate.model.token], made["event_date"].cast(pa.date32()).to_numpy()),
    )
    matched = np.asarray(position.is_valid())
    return typed(made.take(position.drop_null()), predictor.schema.features), matched


def _has_all(candidate: Model, opponent: Model) -> bool:
    """Whether the candidate's rows hold every feature of the opponent, from the same view and of the same kind."""
    return all(
        name in candidate.features.get(view, {}) and candidate.features[view][name].categorical == feature.categorical
        for view, named in opponent.features.items()
        for name, feature in named.items()
    )


def _made_again(settings: Settings, candidate: Candidate, opponent: Model) -> pa.Table:
    """The opponent's features for the labels and dates the candidate is judged on, with the label as it is there."""
    dates = np.unique(candidate.judged.event_date).astype(object).tolist()
    training = candidate.model.training.model_copy(update={"history_from": dates[0]})
    asked = candidate.model.model_copy(update={"features": opponent.features, "training": training})
    features.build_history(settings, asked, dates)
    return features.training_rows(settings, asked, candidate.provenance.training_set.as_of).table


def _keys(tokens: pa.ChunkedArray, dates: Dates) -> pa.ChunkedArray:
    days = pa.array(dates.astype("datetime64[D]").astype(np.int64)).cast(pa.string())
    return pa.chunked_array([pc.binary_join_element_wise(tokens.combine_chunks(), days, "@")])


def _same_training(candidate: Provenance, opponent: Provenance) -> bool:
    """Whether both learnt from the same rows and are judged on the same."""
    validations = (one.model.training.validation.fingerprint() for one in (candidate, opponent))
    return candidate.training_set.digest == opponent.training_set.digest and len(set(validations)) == 1


def _unseen(candidate: Candidate, opponent: Provenance, found: pa.Table, matched: Mask) -> Scores:
    """Of a training in folds, each row by a model that had not seen it, as the candidate's own rows are scored."""
    rows = replace(candidate.judged.where(matched), features=found)
    return unseen(opponent.model, opponent.algorithm, rows, opponent.typologies)


def _learnt_from(settings: Settings, candidate: Candidate, opponent: Provenance, matched: Mask) -> int | None:
    """How many of the compared rows lie on the opponent's development dates; None when those are not known any more."""
    dates = _development_dates(settings, opponent)
    if dates is None:
        return None
    return int(np.isin(candidate.judged.event_date[matched], np.array(sorted(dates), "datetime64[D]")).sum())


def _development_dates(settings: Settings, provenance: Provenance) -> set[date] | None:
    recorded, training_set = provenance.model, provenance.training_set
    try:
        table = features.training_rows(settings, recorded, training_set.as_of, training_set.pins).table
        rows = rows_of(table, recorded.feature)
        folds = recorded.training.validation.kind == "folds"
        learnt = rows if folds else split.by_date(rows, recorded.training.validation).development
    except (DataFault, Blocked):
        return None
    return set(np.unique(learnt.event_date).astype(object).tolist())
