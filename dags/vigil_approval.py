"""The task that waits for a validator: Airflow's own approval, whose answer is recorded where promotion looks for it.

The answer counts when it is in Postgres, not when the task is green: a task marked as success by hand has recorded nothing.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, get_current_context
from vigil_dags import business_date, noting_failure, started_by

from pipelines.settings import Settings, get_settings
from pipelines.spec import Approvals, Model, load_model, load_policy

JUDGE = "judge"
_REQUEST, _SHOWN = "request_no", "request"
_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_CLOCKS_DIFFER = timedelta(seconds=2)
_log = logging.getLogger(__name__)


class Approval(ApprovalOperator):
    """Asks the validators of a model's tier for one of the approvals that are needed.

    Ends green only when a validator's agreement is recorded. A refusal, a time limit and an answer that may not count fail it,
    each with an error of its own; none of them is tried again by itself.
    """

    def __init__(self, *, model: str, number: int, **options: Any) -> None:
        self.model, self.number = model, number
        super().__init__(fail_on_reject=True, **options)

    def execute(self, context: Any) -> Any:
        """Make or find the request, show its form, and wait; nobody is asked for an approval that is recorded already."""
        from pipelines import release

        with noting_failure(context):
            settings, model = self._place()
            version = version_of_run(settings, model, business_date(context, model.schedule.timezone))
            shown = release.ask(
                settings, model, version, self.number, started_by=started_by(context), place=_run(context)
            )
        context["ti"].xcom_push(key=_REQUEST, value=shown.request_no)
        if shown.answered:
            _log.info("request %d: approval %d is recorded already", shown.request_no, self.number)
            return {_REQUEST: shown.request_no}
        self.subject, self.body = shown.subject, shown.body
        self.assigned_users = [{"id": person, "name": person} for person in shown.validators]
        self.params[_SHOWN] = Param(
            shown.request_no, type="integer", enum=[shown.request_no], title="Request", source="task"
        )
        self.response_timeout = max(shown.answer_by - datetime.now(UTC), timedelta()) + _CLOCKS_DIFFER
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Record the answer, or the end of the time; only a recorded agreement lets the task end well."""
        from pipelines import release

        with noting_failure(context):
            settings, _ = self._place()
            request_no = context["ti"].xcom_pull(task_ids=self.task_id, key=_REQUEST)
            if event.get("error_type") == "timeout":
                raise release.give_up(settings, request_no)
            said = super(ApprovalOperator, self).execute_complete(context, event)
            [chosen], filled_in, by = said["chosen_options"], said["params_input"], said["responded_by_user"]
            request = release.record(
                settings,
                request_no,
                shown=filled_in.get(_SHOWN),
                person=by["name"] if by else None,
                answer="approve" if chosen == self.APPROVE else "refuse",
                note=filled_in.get("note") or "",
                place=_run(context),
                answered_at=said["responded_at"],
            )
        return {_REQUEST: request_no, "state": request.state, "approvals": len(request.approved_by)}

    def _place(self) -> tuple[Settings, Model]:
        settings = get_settings()
        return settings, load_model(settings.models, self.model)


def approvals_of(model: Model) -> list[Approval]:
    """One task for each person who must agree, in a row: whoever answers first, a refusal ends the run at once."""
    limits = approval_limits(model)
    approvers = limits.tiers.get(model.tier) if limits else None
    needed = approvers.needed if approvers else 1
    names = [f"approve_{_ORDINALS[n]}" for n in range(needed)] if needed > 1 else ["approve"]
    return [
        Approval(
            task_id=name,
            model=model.name,
            number=number,
            subject=f"May a version of {model.name} become champion?",
            params=_fields(),
            response_timeout=longest_wait(model),
            doc_md=Approval.__doc__,
        )
        for number, name in enumerate(names, start=1)
    ]


def _fields() -> dict[str, Param]:
    """What a validator sends with the answer: the request that the form was of, and a note."""
    return {
        _SHOWN: Param(None, type=["null", "integer"], title="Request"),
        "note": Param("", type=["null", "string"], title="Note", description="Why; kept with your answer."),
    }


def longest_wait(model: Model) -> timedelta:
    """How long a release may wait for persons. Where the policy names nobody, the request is refused before anyone waits."""
    limits = approval_limits(model)
    return timedelta(hours=limits.wait_hours) if limits else timedelta(minutes=1)


def approval_limits(model: Model) -> Approvals | None:
    """Who approves, from the model's policy."""
    return _approvals(get_settings().policies, model.policy)


def version_of_run(settings: Settings, model: Model, day: Any) -> int:
    """The version a run is about: the one it was started for, else the one it judged, else the newest of the date."""
    from pipelines import release

    context = get_current_context()
    judged = context["ti"].xcom_pull(task_ids=JUDGE) or {}
    asked = context["params"].get("version") or judged.get("version")
    return release.version_of(settings, model, day, asked)


@cache
def _approvals(policies: Path, name: str) -> Approvals | None:
    return load_policy(policies, name).approvals


def _run(context: Any) -> str:
    return f"airflow {context['dag_run'].dag_id} {context['dag_run'].run_id}"
