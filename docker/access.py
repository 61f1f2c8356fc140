"""Makes Airflow's roles what docker/roles.json says, and the first logins of an empty installation.

A role is the built-in Viewer plus what its entry adds; a permission that is not in the file is taken away again, so the
file in version control is the answer to "who may do what". The roles Viewer, User, Op and Admin stay Airflow's own.
Airflow's rule to know: starting runs also needs `can_edit` on DAGs, which includes pausing them. Answering a request for
approval needs neither (plugins/vigil_auth.py).

The one argument is optional: a JSON list of more logins, {"email", "role", "password_file"}, for the demo. A login's user name
is its e-mail address, because that is the name by which a person approves.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

ROLES = Path(__file__).with_name("roles.json")


def main(*more_logins: str) -> None:
    with get_application_builder() as builder:
        manager = builder.sm
        manager.sync_roles()
        for name, role in json.loads(ROLES.read_text()).items():
            _set_permissions(manager, name, role["beyond_viewer"])
        if not manager.count_users():
            _create_administrator(manager)
        for login in (login for path in more_logins for login in json.loads(Path(path).read_text())):
            _create(manager, login["email"], login["email"], login["role"], Path(login["password_file"]))


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
    _create(manager, "admin", "admin@vigil.invalid", "Admin", Path(os.environ["ADMIN_PASSWORD_FILE"]))


def _create(manager: Any, name: str, email: str, role: str, password_file: Path) -> None:
    """A login; one of that name that is there stays as it is."""
    if manager.find_user(username=name):
        return
    manager.add_user(
        username=name,
        first_name="Vigil" if role == "Admin" else name.partition("@")[0],
        last_name="Administrator" if role == "Admin" else role,
        email=email,
        role=manager.find_role(role),
        password=password_file.read_text().strip(),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
