"""Who may answer a request for approval: the persons it names, by user name, which is their e-mail address.

Airflow imports this class by name (setting `core.auth_manager`) from the plugins folder, which is on the path of each of its
processes. It is no plugin, so `.airflowignore` keeps it from being loaded as one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager
from airflow.providers.fab.www.security.permissions import RESOURCE_HITL_DETAIL

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.base_auth_manager import ResourceMethod
    from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
    from airflow.providers.fab.auth_manager.models import User


class VigilAuthManager(FabAuthManager):
    """FAB's logins and roles. What differs is who may answer a request for approval."""

    def is_authorized_hitl_task(self, *, assigned_users: set[str], user: User) -> bool:
        """Whether the task names the user. FAB compares its own numbers of users, which no policy can know."""
        return user.username.strip().lower() in assigned_users

    def is_authorized_dag(
        self,
        *,
        method: ResourceMethod,
        user: User,
        access_entity: DagAccessEntity | None = None,
        details: DagDetails | None = None,
    ) -> bool:
        """As FAB, but who answers needs only to see the DAG: the right to edit it would include pausing it."""
        if access_entity is DagAccessEntity.HITL_DETAIL and method == "PUT":
            sees = super().is_authorized_dag(method="GET", user=user, access_entity=access_entity, details=details)
            return sees and self._is_authorized(method="PUT", resource_type=RESOURCE_HITL_DETAIL, user=user)
        return super().is_authorized_dag(method=method, user=user, access_entity=access_entity, details=details)
