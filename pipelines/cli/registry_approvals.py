"""Approvals without Airflow: ask for one, list what is open, answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import output
from pipelines.cli.app import ModelName, chosen_model, machine, shared
from pipelines.cli.registry_app import registry_app
from pipelines.contracts import Blocked

if TYPE_CHECKING:
    from pipelines.registry.approval_records import ApprovalRequest

By = Annotated[str, typer.Option("--by", metavar="EMAIL", help="Who does this: a person's e-mail address.")]

_PLACE = "command line"
_COLUMNS = ("request_no", "model", "version", "state", "needed", "approved_by", "validators", "requester", "answer_by")


@registry_app.command("request")
def request(
    version: Annotated[int, typer.Option("--version", min=1, help="The version that is to become champion.")],
    by: By,
    model: ModelName = None,
    hours: Annotated[
        float | None, typer.Option("--hours", help="How long it is open, at most as the policy says; by default that.")
    ] = None,
) -> None:
    """Ask the validators of the model's tier to approve a version that passed its gates."""
    from pipelines.registry import approvals
    from pipelines.registry.persons import person

    with machine() as settings:
        chosen = chosen_model(settings, model)
        made = approvals.request(settings, chosen, version, requester=person(by), place=_PLACE, hours=hours)
    _show(made)


@registry_app.command("requests")
def requests(model: ModelName = None) -> None:
    """The requests for approval that nobody has closed."""
    from pipelines.registry import approvals

    with machine() as settings:
        found = approvals.open_requests(settings, model and chosen_model(settings, model).name)
        rows = [
            row | {"state": request.state, "approved_by": ", ".join(request.approved_by)}
            for row, request in zip(output.as_rows(found), found, strict=True)
        ]
        output.show_rows("requests for approval", _COLUMNS, rows)


@registry_app.command("answer")
def answer(
    request: Annotated[int, typer.Option("--request", min=1, help="Number of the request.")],
    approve: Annotated[bool, typer.Option("--approve/--refuse", help="What you say.")],
    by: By,
    note: Annotated[str, typer.Option("--note", help="Why; kept with the answer.")] = "",
) -> None:
    """Approve or refuse. The approval that completes the number needed gives the permit; a refusal closes the request.

    Not in production: nobody is logged in on a command line, so there answers are given in Airflow alone.
    """
    from pipelines.registry import approvals

    with machine() as settings:
        if settings.environment == "production":
            raise Blocked(
                f"request {request}: a command line does not know who types, so in production an answer is given in Airflow, by "
                "the person who is logged in. Nothing was recorded. See docs/approval.md."
            )
        said = approvals.answer(settings, request, by, "approve" if approve else "refuse", note, _PLACE)
    _show(said)


def _show(request: ApprovalRequest) -> None:
    """How the request stands, and what comes next."""
    if shared.as_json:
        output.show(request)
        return
    subject = f"request {request.request_no}: {request.model} version {request.version}"
    counted = f"{len(request.approved_by)} of {request.needed} approvals"
    if request.state == "open":
        until = f"open until {request.answer_by:%Y-%m-%d %H:%M} UTC"
        print(f"{subject} is {until}, {counted}. May answer: {', '.join(request.validators)}.")
        print(f"Next: python -m pipelines registry answer --request {request.request_no} --approve --note … --by …")
    elif request.state == "granted":
        expect = request.expected_champion or "none"
        print(f"{subject} is approved by {', '.join(request.approved_by)}; permit {request.permit_no}.")
        print(
            f"Next: python -m pipelines registry promote --model {request.model} --version {request.version} --expect {expect} "
            "--by …"
        )
    else:
        print(f"{subject} is {request.state.replace('_', ' ')}, {counted}. The champion stays.")
