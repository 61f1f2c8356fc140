"""What a validator sees before answering: the comparison, what the gates found, and what the answer is bound to. Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from pipelines.contracts import GateReport, GateVerdict
from pipelines.registry import approval_records, approvals
from pipelines.registry.approval_records import ApprovalRequest
from pipelines.settings import Settings
from pipelines.spec import Model
from pipelines.validation.comparison import Comparison
from pipelines.validation.page import summary

_DIGEST_SHOWN = 12


def form(settings: Settings, model: Model, request: ApprovalRequest) -> str:
    """The form of a request; the same for everybody who is asked."""
    report, comparison = approval_records.gate_run(settings, request.gate_run_no)
    earlier = [r for r in approvals.requests_of(settings, model.name, request.version) if r.ended == "refused"]
    parts = (
        _subject(model, request),
        _comparison(comparison),
        _gates(report),
        *_refusals(earlier),
        _bound_to(settings, request),
    )
    return "\n\n".join(parts)


def _subject(model: Model, request: ApprovalRequest) -> str:
    replaces = f"replaces version {request.expected_champion}" if request.expected_champion else "is the first champion"
    return (
        f"**{model.title}**, tier {model.tier}: version {request.version} {replaces}. Trained by {request.trainer}, asked for by "
        f"{request.requester}; neither may answer. {request.needed} of the named validators must agree by "
        f"{request.answer_by:%Y-%m-%d %H:%M} UTC."
    )


def _comparison(stored: str | None) -> str:
    if stored is None:
        return "### Comparison\n\nThere was nothing to compare this version with."
    return f"### Comparison\n\n{summary(Comparison.model_validate_json(stored))}"


def _gates(report: GateReport) -> str:
    """Every rule that did not pass, and for each gate how many did."""
    remarkable = [v for v in report.verdicts if v.verdict != "pass"]
    gates: dict[str, list[GateVerdict]] = {}
    for verdict in report.verdicts:
        gates.setdefault(verdict.gate, []).append(verdict)
    counted = [
        (gate, str(len(found)), str(sum(v.verdict == "pass" for v in found)), _observed(found))
        for gate, found in gates.items()
    ]
    told = _table(("gate", "rules", "passed", "observed"), counted)
    noted = [(v.rule, v.segment or "everyone", _number(v.observed), v.limit, v.evidence) for v in remarkable]
    notes = _table(("rule", "for", "observed", "limit", "evidence"), noted) if noted else "Every rule passed."
    heading = f"### Gates, policy {report.policy} {report.policy_version}, judged on {report.judged_on}"
    return (
        f"{heading}\n\n{told}\n\nNot passed, and only recorded:\n\n{notes}"
        if noted
        else f"{heading}\n\n{told}\n\n{notes}"
    )


def _observed(verdicts: Sequence[GateVerdict]) -> str:
    """The measures of a gate for everyone, with their limits, and how many of a feature or group there are beside them."""
    overall = [f"{v.metric} {_number(v.observed)} ({v.limit})" for v in verdicts if not v.segment]
    of_parts = Counter(v.metric for v in verdicts if v.segment)
    return "; ".join([*overall, *(f"{metric} of {count} parts" for metric, count in sorted(of_parts.items()))])


def _refusals(earlier: Sequence[ApprovalRequest]) -> Iterable[str]:
    if earlier:
        said = [(str(r.request_no), r.answers[-1].person, r.answers[-1].note or "no note") for r in earlier]
        yield "### Refused before\n\n" + _table(("request", "by", "note"), said)


def _bound_to(settings: Settings, request: ApprovalRequest) -> str:
    lines = [
        f"files `{request.artefact_digest[:_DIGEST_SHOWN]}…`",
        f"gate report `{request.gate_digest[:_DIGEST_SHOWN]}…` (gate run {request.gate_run_no})",
        f"policy {request.policy} {request.policy_version}",
    ]
    bound = f"### Your answer is bound to\n\n{', '.join(lines)}. When one of them changes, it no longer holds."
    page = settings.links.get("MLflow", "").rstrip("/")
    name = f"models/{request.model}/versions/{request.version}"
    return f"{bound}\n\n[Version {request.version} in MLflow]({page}/#/{name})" if page else bound


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([_cell(c) for c in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


def _number(value: float | None) -> str:
    return "not assessable" if value is None else f"{value:.4g}"
