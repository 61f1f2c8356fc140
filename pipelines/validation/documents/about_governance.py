"""The sections about how the version was judged and decided upon: gates, comparison, fairness, approvals, monitoring, journal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator

from pipelines.contracts import GateVerdict, Verdict
from pipelines.registry.journal import Entry
from pipelines.validation.documents.blocks import Block, Facts, Links, Missing, Picture, Section, Table, Text
from pipelines.validation.documents.records import COMPARISON, Asked, GateRun, Records
from pipelines.validation.documents.words import NONE, counted, interval, moment, spaced, tables_of, told

_SHOWN = 12
_VERDICTS = ("measure", "segment", "observed", "limit", "verdict", "effect", "evidence", "source of the limit")
_WIDTHS = (4, 4, 4, 3, 3, 2, 6, 6)


def gates(records: Records) -> Section:
    run = records.gate_run
    if run is None:
        missing = Missing(f"gate results; the version was not judged. {_judge(records)}")
        return Section("gates", "Gate results", missing.text, (missing,))
    by = Counter(verdict.verdict for verdict in run.report.verdicts)
    result = "passed" if run.report.passed else f"blocked by {counted(len(run.report.blocking), 'verdict')}"
    summary = f"{result}: {by[Verdict.PASS]} pass, {by[Verdict.FAIL]} fail, {by[Verdict.NOT_ASSESSABLE]} not assessable"
    blocks: list[Block] = [Facts(_facts(run, summary))]
    if run.report.blocking:
        blocks.append(_table("What blocks", run.report.blocking, gate=True))
    blocks += _verdicts(run.report.verdicts)
    others = [other for other in records.gate_runs if other.number != run.number]
    rows = tuple(
        (
            str(o.number),
            moment(o.at),
            "pass" if o.report.passed else "fail",
            o.report.policy_version,
            o.report.digest[:_SHOWN],
        )
        for o in others
    )
    if rows:
        columns = ("gate run", "when", "result", "policy version", "digest")
        blocks.append(Table("Other judgements of the version", columns, rows, verdict=2))
    blocks.append(Links("As recorded", (("Report as it was digested", "records/gates.json"),)))
    return Section("gates", "Gate results", summary, tuple(blocks))


def _facts(run: GateRun, summary: str) -> tuple[tuple[str, str], ...]:
    report = run.report
    champion = f"version {report.champion_version}" if report.champion_version else "none: the model had no champion"
    return (
        ("Result", summary),
        ("Judged on", f"{report.judged_on} (gate run {run.number}, {moment(run.at)})"),
        ("Policy", f"{report.policy}, version {report.policy_version}"),
        ("Compared with", champion),
        ("Digest of the files judged", report.artefact_digest),
        ("Digest of the report", report.digest),
    )


def _verdicts(verdicts: Iterable[GateVerdict]) -> Iterator[Table]:
    listed = list(verdicts)
    for gate in dict.fromkeys(verdict.gate for verdict in listed):
        yield _table(spaced(gate).capitalize(), [verdict for verdict in listed if verdict.gate == gate])


def _table(title: str, verdicts: Iterable[GateVerdict], *, gate: bool = False) -> Table:
    """Verdicts as rows; `gate` names the gate with the measure, where the title does not."""
    rows = tuple(
        (
            f"{spaced(v.gate)}: {spaced(v.metric)}" if gate else spaced(v.metric),
            v.segment or "everyone",
            interval(v.observed, v.low, v.high),
            v.limit,
            spaced(v.verdict),
            v.effect,
            v.evidence or NONE,
            f"{v.source} (pack {v.rule.partition('/')[0]})",
        )
        for v in verdicts
    )
    return Table(title, _VERDICTS, rows, _WIDTHS, verdict=4)


def comparison(records: Records) -> Section:
    run = records.gate_run
    pages = [(path.partition("/")[2], path) for path in records.kept if path.startswith(f"{COMPARISON}/")]
    blocks: list[Block] = []
    if run is None or run.comparison is None:
        why = "the version was not judged" if run is None else "the judgement had nothing to compare with"
        blocks.append(Missing(f"comparison; {why}. {_judge(records)}"))
    else:
        blocks += tables_of(run.comparison)
        blocks.append(Links("As recorded", (("Comparison of the judgement", "records/comparison.json"),)))
    blocks += [Picture(path, name) for name, path in pages if path.endswith(".png")]
    documents = tuple((name, path) for name, path in pages if not path.endswith(".png"))
    if documents:
        blocks.append(Links("Pages and numbers of the comparison", documents))
    summary = blocks[0].text if isinstance(blocks[0], Missing) else _opponent(run)
    return Section("comparison", "Comparison with the champion", summary, tuple(blocks))


def _opponent(run: GateRun | None) -> str:
    opponent = run.comparison.get("opponent") if run and isinstance(run.comparison, dict) else None
    if isinstance(opponent, dict) and "version" in opponent:
        return f"on the same rows with version {opponent['version']} ({opponent.get('role', 'opponent')})"
    return "on the same rows with the version in use"


def fairness(records: Records) -> Section:
    run = records.gate_run
    own = [verdict for verdict in run.report.verdicts if verdict.gate == "fairness"] if run else []
    if not own:
        why = "the version was not judged" if run is None else "the judgement has no verdict of the gate fairness"
        missing = Missing(f"fairness; {why}. {_judge(records)}")
        return Section("fairness", "Fairness", missing.text, (missing,))
    measuring = records.policy.measuring
    how: list[Block] = []
    if measuring and measuring.fairness:
        how.append(
            Facts(
                (
                    ("Favourable outcome", f"the {measuring.approved_share:.0%} of rows with the lowest scores"),
                    ("Protected attributes", ", ".join(measuring.fairness.attributes)),
                    (
                        "Combinations",
                        "; ".join(" and ".join(names) for names in measuring.fairness.intersections) or NONE,
                    ),
                    ("Smallest group judged", f"{measuring.fairness.min_group} rows"),
                    ("Significance", f"{measuring.fairness.significance:g}, two-sided"),
                )
            )
        )
    by = Counter(verdict.verdict for verdict in own)
    summary = ", ".join(f"{by[outcome]} {spaced(outcome)}" for outcome in Verdict if by[outcome])
    return Section("fairness", "Fairness", summary, (*how, *_verdicts(own)))


def approvals(records: Records) -> Section:
    blocks: list[Block] = []
    for asked in records.requests:
        blocks += _request(asked)
    if not records.requests:
        blocks.append(Missing("request for approval; nobody was asked to approve the version"))
    rows = tuple(
        (
            str(p.permit_no),
            p.role,
            p.kind,
            moment(p.granted_at),
            moment(p.expires),
            f"{p.policy} {p.policy_version}",
            p.reason,
            (p.gate_digest or NONE)[:_SHOWN],
        )
        for p in records.permits
    )
    if rows:
        columns = ("no.", "role", "kind", "given", "expires", "policy", "reason", "gate report")
        blocks.append(Table("Permits", columns, rows, (1, 2, 2, 3, 3, 3, 3, 3)))
    else:
        blocks.append(Missing("permit; the version has none"))
    yes = sum(a.answer == "approve" for asked in records.requests for a in asked.request.answers)
    no = sum(a.answer == "refuse" for asked in records.requests for a in asked.request.answers)
    answers = f"{counted(yes, 'approval')}, {counted(no, 'refusal')}"
    numbers = f"{counted(len(records.requests), 'request')}, {answers}; {counted(len(rows), 'permit')}"
    summary = numbers if records.requests or rows else "not recorded: no request and no permit"
    return Section("approvals", "Approvals", summary, tuple(blocks))


def _request(asked: Asked) -> Iterator[Block]:
    request = asked.request
    yield Text(f"Request {request.request_no} of {moment(asked.at)}")
    yield Facts(
        (
            ("Asked by", request.requester),
            ("Trained by", request.trainer),
            ("Approvals needed", str(request.needed)),
            ("Validators named", ", ".join(request.validators)),
            ("To be answered by", moment(asked.answer_by)),
            ("Policy", f"{asked.policy}, version {asked.policy_version}"),
            ("Gate report", f"gate run {request.gate_run_no}, digest {request.gate_digest}"),
            ("Digest of the files", request.artefact_digest),
        )
    )
    rows = tuple((a.person, a.role, a.answer, moment(a.answered_at), a.place, a.note or NONE) for a in request.answers)
    if rows:
        yield Table(
            "Answers", ("person", "role", "answer", "when", "where", "note"), rows, (4, 2, 2, 3, 3, 5), verdict=2
        )
    else:
        yield Missing(f"answer to request {request.request_no}; nobody has answered")


def monitoring(records: Records) -> Section:
    model, policy = records.model, records.policy
    limits = policy.scoring
    facts = [
        (
            "Scored",
            f"by cron {model.schedule.cron} ({model.schedule.timezone})" if model.schedule.cron else "on request only",
        ),
        (
            "Drift of the score",
            f"PSI to the training reference: warning from {limits.psi_warning:g}, no publication from {limits.psi_block:g}",
        ),
        ("Rejected rows", f"no publication above {limits.max_rejected_fraction:.1%} of a batch"),
        ("Outcome known", f"{model.label.maturity_days} days after the event"),
        ("Policy", f"{policy.policy}, version {policy.version}"),
    ]
    blocks: list[Block] = [Facts(tuple(facts))]
    if policy.review is None:
        blocks.append(Missing(f"review; policy {policy.policy} has no section `review`"))
        summary = "limits of the nightly batch; no rhythm of reviews"
    else:
        days = policy.review.every_days.get(model.tier)
        blocks.append(
            Facts(
                (
                    (
                        "Review",
                        f"every {days} days for tier {model.tier}" if days else f"no rhythm for tier {model.tier}",
                    ),
                    (
                        "Review at once",
                        f"when a published batch reaches PSI {policy.review.after_psi:g}, or a review finds it unfit",
                    ),
                    ("Overdue review", _consequence(policy.review.overdue)),
                    ("Expired permit", _consequence(policy.review.expired_permit)),
                )
            )
        )
        summary = (
            f"every night by PSI and rejected rows; a review every {days} days or from PSI {policy.review.after_psi:g}"
        )
    if policy.approvals is not None:
        blocks.append(Facts((("A permit holds", f"{policy.approvals.valid_days} days; then it is approved anew"),)))
    return Section("monitoring", "Monitoring plan", summary, tuple(blocks))


def _consequence(what: str) -> str:
    return "an incident, and scoring stops" if what == "stop" else "an incident; scoring goes on"


def journal(records: Records) -> Section:
    if not records.entries:
        missing = Missing("journal entries; nothing about this version was written to the journal yet")
        return Section("journal", "Journal", missing.text, (missing,))
    rows = tuple((str(e.entry_no), moment(e.at), spaced(e.kind), _payload(e), e.hash) for e in records.entries)
    table = Table("Entries about the version", ("no.", "when", "what", "facts", "hash"), rows, (1, 3, 2, 7, 5))
    blocks = (
        Text("Each entry's hash covers the entry before it; the whole chain was verified when this pack was made."),
        table,
        Links("As recorded", (("Entries as they were hashed", "records/journal.json"),)),
    )
    return Section(
        "journal", "Journal", f"{counted(len(rows), 'entry')}, the last {spaced(records.entries[-1].kind)}", blocks
    )


def _payload(entry: Entry) -> str:
    return "; ".join(f"{spaced(name)}: {told(value)}" for name, value in json.loads(entry.payload).items())


def _judge(records: Records) -> str:
    return f"Run: python -m pipelines judge --model {records.model.name} --version {records.version}"
