"""The login of a sandbox and its two databases. PostgreSQL, not our code, keeps it out of everything else.

Whoever makes sandboxes needs CREATEROLE and CREATEDB, and is a member of each login it makes, never the other way round.
"""

from __future__ import annotations

import secrets

from pipelines import database
from pipelines.contracts import Blocked
from pipelines.database import Connection
from pipelines.sandbox.place import Place

CONNECTIONS = 20
_SCHEMAS = ("vigil", "protected", "feast")


def require_allowed(connection: Connection) -> None:
    """Raises Blocked, with what an administrator must run, when this login may make neither logins nor databases."""
    [me] = database.execute(
        connection,
        "SELECT current_user AS login, rolsuper OR rolcreaterole AS roles, rolsuper OR rolcreatedb AS databases "
        "FROM pg_roles WHERE rolname = current_user",
    )
    lacking = [word for word, may in (("CREATEROLE", me["roles"]), ("CREATEDB", me["databases"])) if not may]
    if lacking:
        raise Blocked(
            f"the login {me['login']} may not make a sandbox: it lacks {' and '.join(lacking)}. Nothing was made. Let an "
            f'administrator of PostgreSQL run: ALTER ROLE "{me["login"]}" {" ".join(lacking)}; or give the command a login '
            "that has them (VIGIL_DATABASE_URL). See docs/sandbox.md"
        )


def make(connection: Connection, place: Place) -> str:
    """Make login and databases, and return the password. `connection` is outside transactions.

    Raises Blocked, and leaves nothing, when the new login could connect to any database but its own.
    """
    password = secrets.token_urlsafe(24)
    verifier = database.password_verifier(connection, place.login, password)
    database.execute(
        connection,
        f'CREATE ROLE "{place.login}" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS '
        f"CONNECTION LIMIT {CONNECTIONS} PASSWORD :verifier",
        verifier=verifier,
    )
    database.execute(connection, f'GRANT "{place.login}" TO CURRENT_USER WITH INHERIT TRUE, SET TRUE')
    require_isolated(connection, place)
    for name in place.databases:
        database.execute(connection, f"""CREATE DATABASE "{name}" OWNER "{place.login}" ENCODING 'UTF8'""")
        database.execute(connection, f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC')
    return password


def require_isolated(connection: Connection, place: Place) -> None:
    """Raises Blocked when the login may connect to another database, is a member of a role or may do more than log in."""
    foreign = reachable(connection, place)
    if foreign:
        revoke = " ".join(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC;' for name in foreign)
        raise Blocked(
            f"the login {place.login} could connect to {', '.join(foreign)}, so it would be no sandbox. Let an administrator "
            f"of PostgreSQL run: {revoke} (then GRANT CONNECT to the logins that need it), and run the command again."
        )
    if memberships(connection, place):
        raise Blocked(
            f"the login {place.login} is a member of {', '.join(memberships(connection, place))} or may do more than log in, "
            "so it is no sandbox. Let an administrator of PostgreSQL take that back, then run the command again."
        )


def reachable(connection: Connection, place: Place) -> list[str]:
    """Databases of others that the login may connect to."""
    found = database.execute(
        connection,
        "SELECT datname FROM pg_database WHERE datallowconn AND datname <> ALL(:own) "
        "AND has_database_privilege(:login, datname, 'CONNECT') ORDER BY datname",
        own=list(place.databases),
        login=place.login,
    )
    return [row["datname"] for row in found]


def memberships(connection: Connection, place: Place) -> list[str]:
    """Roles that the login can become, and what it may do beyond logging in."""
    found = database.execute(
        connection,
        "SELECT r.rolname AS name FROM pg_roles r WHERE r.rolname <> :login AND pg_has_role(:login, r.oid, 'MEMBER') "
        "UNION ALL SELECT 'SUPERUSER, CREATEROLE, CREATEDB, REPLICATION or BYPASSRLS' FROM pg_roles WHERE rolname = :login "
        "AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)",
        login=place.login,
    )
    return [row["name"] for row in found]


def renew_password(connection: Connection, place: Place) -> str:
    """Give the login another password and return it."""
    password = secrets.token_urlsafe(24)
    verifier = database.password_verifier(connection, place.login, password)
    database.execute(connection, f'ALTER ROLE "{place.login}" PASSWORD :verifier', verifier=verifier)
    return password


def exists(connection: Connection, place: Place) -> bool:
    """Whether the login or one of the databases is there, also one left behind by a killed command."""
    found = database.execute(
        connection,
        "SELECT 1 FROM pg_roles WHERE rolname = :login UNION ALL SELECT 1 FROM pg_database WHERE datname = ANY(:own)",
        login=place.login,
        own=list(place.databases),
    )
    return bool(found)


def remove(connection: Connection, place: Place) -> None:
    """Remove databases and login, whatever is there of them; people in them are disconnected."""
    for name in place.databases:
        database.execute(connection, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    database.execute(connection, f'DROP ROLE IF EXISTS "{place.login}"')


def hand_over(connection: Connection, place: Place) -> None:
    """Make the sandbox's login the owner of the schemas that the migration made, and let nobody else in.

    The schema of reports stays with its officers; whoever trains has no business there.
    """
    database.execute(
        connection,
        f'REVOKE ALL ON DATABASE "{place.database}" FROM PUBLIC, vigil_investigator, vigil_sar_officer',
    )
    for schema in _SCHEMAS:
        database.execute(connection, f'ALTER SCHEMA {schema} OWNER TO "{place.login}"')
    for row in database.execute(connection, _OBJECTS, schemas=list(_SCHEMAS)):
        database.execute(connection, f'ALTER {row["kind"]} {row["name"]} OWNER TO "{place.login}"')


# Sequences of identity columns follow their tables.
_OBJECTS = """
    SELECT 'TABLE' AS kind, format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY(:schemas) AND c.relkind IN ('r', 'p', 'v', 'm')
    UNION ALL
    SELECT 'FUNCTION', p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = ANY(:schemas)"""
