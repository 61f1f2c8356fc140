"""Makes Airflow's roles what docker/roles.json says, and the first administrator of an empty installation.

A role is the built-in Viewer plus what its entry adds; a permission that is not in the file is taken away again, so the
file in version control is the answer to "who may do what". The roles Viewer, User, Op and Admin stay Airflow's own.
Airflow's rule to know: starting runs and answering requests also needs `can_edit` on DAGs, which includes pausing them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

ROLES = Path(__file__).with_name("roles.json")


def main() -> None:
    with get_application_builder() as builder:
        manager = builder.sm
        manager.sync_roles()
        for name, role in json.loads(ROLES.read_text()).items():
            _set_permissions(manager, name, role["beyond_viewer"])
        if not manager.count_users():
            _create_administrator(manager)


def _set_permissions(manager: Any, name: str, beyond_viewer: dict[str, list[str]]) -> None:
    role = manager.add_role(name)
    viewer = {(p.action.name, p.resource.name) for p in manager.find_role("Viewer").permissions}
    wanted = viewer | {(action, resource) for resource, actions in beyond_viewer.items() for action in actions}
    held = {(p.action.name, p.resource.name): p for p in role.permissions}
    for action, resource in sorted(wanted - held.keys()):
        manager.add_permission_to_role(role, manager.create_permission(action, resource))
    for extra in held.keys() - wanted:
        manager.remove_permission_from_role(role, held[extra])


def _create_administrator(manager: Any) -> None:
    password = Path(os.environ["ADMIN_PASSWORD_FILE"]).read_text().strip()
    manager.add_user(
        username="admin",
        first_name="Vigil",
        last_name="Administrator",
        email="admin@vigil.invalid",
        role=manager.find_role("Admin"),
        password=password,
    )


if __name__ == "__main__":
    main()
