"""Raise the alerts of a published batch: the whole night in one transaction, or nothing of it.

A rerun of a date whose batch is the one already raised changes nothing. A corrected batch supersedes: alerts of the old
one that nobody touched are withdrawn, touched ones stay and are marked. Nights of all models go one after the other, so
that run and case numbers have no gaps and a killed night leaves none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from pipelines import completion, database
from pipelines.aml import records, state
from pipelines.aml.batch import Batch, candidates, published_batch, segments
from pipelines.aml.candidates import Candidate, Raised, Selection, select
from pipelines.aml.evidence import Evidence, Found
from pipelines.aml.house import evidence_of
from pipelines.aml.limits import digest_of, limits_of, policy_of, require_replayed
from pipelines.aml.linking import Grouped, Node, group
from pipelines.contracts import Blocked, RaisedAlerts, fingerprint
from pipelines.settings import Settings
from pipelines.spec import AlertLimits, Model, Policy

DRAWN = "drawn below the line"
_ID_DIGITS = 16
_WORST = 3


def raise_alerts(
    settings: Settings, model: Model, business_date: date, evidence: Evidence | None = None
) -> RaisedAlerts:
    """Turn the published scores of the model and date into alerts with evidence, grouped into cases.

    Args:
        evidence: where the evidence comes from; by default the lake's transactions with the model's typologies.

    Raises:
        Blocked: nothing was published, the policy has no alerts section, its change or that of the typology pack was not
            replayed, there are no transactions to give a reason from, or more rows need review than the policy allows a night.
        DataFault: the lake does not hold the published rows.
        ConnectionBroken: Postgres or the lake did not answer; running again is safe.
    """
    policy = policy_of(settings, model, business_date)
    limits = limits_of(policy, model)
    with database.transaction(settings) as connection:
        database.lock(connection, "raise alerts")
        batch = published_batch(connection, model, business_date)
        last = records.last_run(connection, model.name, business_date)
        completion.record(connection, model.name, "raise_alerts", business_date)
        if last is not None and last.batch_no == batch.batch_no:
            return last.record.model_copy(update={"already_raised": True})
        require_replayed(connection, model, policy, limits, batch.typologies)
        superseded = records.supersede(connection, last) if last else records.NOTHING_SUPERSEDED
        night = _Night(
            settings,
            connection,
            model,
            policy,
            limits,
            batch,
            evidence or evidence_of(settings, model, limits.evidence, batch),
        )
        return night.raise_all(attempt=last.attempt + 1 if last else 1, superseded=superseded)


@dataclass(frozen=True)
class _Night:
    """One night being raised inside a transaction."""

    settings: Settings
    connection: database.Connection
    model: Model
    policy: Policy
    limits: AlertLimits
    batch: Batch
    evidence: Evidence

    def raise_all(self, attempt: int, superseded: records.Superseded) -> RaisedAlerts:
        desk = state.desk(self.connection, self.model.name, self.batch.business_date)
        rows = candidates(self.settings, self.model, self.batch, self.limits, desk)
        chosen = select(self.limits, rows, desk, model=self.model.name, business_date=self.batch.business_date)
        self._require_few_in_review(chosen.review)
        alerts = self._alerts(chosen, attempt)
        found = self._find(alerts)
        grouped = self._group(alerts, found)
        segment = segments(self.settings, self.limits, self.model, self.batch.business_date)
        run = self._record(attempt, chosen, superseded, grouped)
        records.insert_run(self.connection, run, self.batch, self.limits)
        records.insert_below(self.connection, run, chosen.below, segment)
        records.insert_alerts(self.connection, run, alerts, found, grouped, segment)
        records.insert_held(self.connection, run, chosen.held)
        records.withdraw_empty_cases(self.connection, run.run_no, superseded.cases)
        return run

    def _require_few_in_review(self, review: Sequence[Raised]) -> None:
        """An input that everybody lacks is one fault to repair: as many review items as customers would bury the alerts."""
        limit = self.limits.max_review_items
        if len(review) <= limit:
            return
        reasons = Counter(reason for raised in review for reason in raised.candidate.reasons)
        worst = ", ".join(f"{reason}: {rows:,}" for reason, rows in sorted(reasons.items(), key=_most_first)[:_WORST])
        model, on = self.model.name, self.batch.business_date
        raise Blocked(
            f"model {model} on {on}: {len(review):,} rows need review, allowed are {limit:,} a night ({worst}; policy "
            f"{self.policy.policy} {self.policy.version}). Nothing was raised; the scores stay published. Find the missing "
            f"input with `python -m pipelines status --model {model}`, take it in, then run: "
            f"python -m pipelines night --model {model} --date {on}"
        )

    def _alerts(self, chosen: Selection, attempt: int) -> list[records.NewAlert]:
        kinds: list[tuple[records.Kind, Sequence[Raised]]] = [
            ("above", chosen.above),
            ("review", chosen.review),
            ("below", [Raised(candidate, DRAWN) for candidate in chosen.sampled]),
        ]
        return [
            records.NewAlert(self._alert_id(attempt, one.candidate), kind, one)
            for kind, raised in kinds
            for one in raised
        ]

    def _alert_id(self, attempt: int, candidate: Candidate) -> str:
        """The same in every run of the same attempt, and telling nothing of rank or kind."""
        return fingerprint(self.model.name, self.batch.business_date, attempt, candidate.token)[:_ID_DIGITS]

    def _find(self, alerts: Sequence[records.NewAlert]) -> Mapping[str, Found]:
        asked = {a.raised.candidate.token: a.raised.candidate.typologies for a in alerts}
        found = self.evidence.find(self.settings, self.limits.evidence, self.batch.business_date, asked)
        if missing := [token for token in asked if token not in found]:
            raise Blocked(
                f"model {self.model.name} on {self.batch.business_date}: no evidence was given for {len(missing):,} of "
                f"{len(asked):,} alerts, the first for {missing[0]}. Nothing was raised."
            )
        return found

    def _group(self, alerts: Sequence[records.NewAlert], found: Mapping[str, Found]) -> Grouped:
        nodes = [
            Node(
                alert.alert_id,
                frozenset({alert.raised.candidate.token}),
                tuple(scheme.link for scheme in found[alert.raised.candidate.token].schemes),
            )
            for alert in alerts
        ]
        return group(self.limits.cases, nodes, state.open_cases(self.connection, self.model.name))

    def _record(
        self, attempt: int, chosen: Selection, superseded: records.Superseded, grouped: Grouped
    ) -> RaisedAlerts:
        held = {why: sum(h.why == why for h in chosen.held) for why in ("suppressed", "open", "resting")}
        sampled, rows = len(chosen.sampled), self.batch.rows_scored + self.batch.rows_rejected
        visible = len(chosen.above) + len(chosen.review) + len(chosen.held) + sampled
        budget = self.limits.budget
        return RaisedAlerts(
            model=self.model.name,
            business_date=self.batch.business_date,
            batch_id=self.batch.batch_id,
            run_no=records.next_run_no(self.connection),
            attempt=attempt,
            policy=self.policy.policy,
            policy_version=self.policy.version,
            limits_digest=digest_of(self.limits, self.batch.typologies),
            budget=budget,
            threshold=self.limits.threshold,
            line=chosen.line,
            rows_scored=self.batch.rows_scored,
            rows_rejected=self.batch.rows_rejected,
            raised=len(chosen.above),
            suppressed=held["suppressed"],
            carried=held["open"],
            resting=held["resting"],
            review_items=len(chosen.review),
            sampled=sampled,
            quiet=rows - visible,
            budget_used=len(chosen.above) / budget if budget else None,
            broke_through=sum("through suppression" in raised.why_now for raised in chosen.above),
            withdrawn=superseded.withdrawn,
            kept=superseded.kept,
            cases_new=sum(case_no is None for case_no, _ in grouped.groups),
            cases_joined=sum(case_no is not None for case_no, _ in grouped.groups),
            hubs=len(grouped.hubs),
            links_refused=grouped.refused,
            already_raised=False,
        )


def _most_first(reason: tuple[str, int]) -> tuple[int, str]:
    return -reason[1], reason[0]
