"""Tables of registry: permits, which only ever grow."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION vigil.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'vigil.% is append-only: nothing in it is changed or removed', TG_TABLE_NAME;
        END $$""")
    op.execute("""
        CREATE TABLE vigil.permit (
            permit_no       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            model           text NOT NULL,
            version         integer NOT NULL CHECK (version > 0),
            role            text NOT NULL CHECK (role IN ('champion', 'challenger')),
            artefact_digest text NOT NULL CHECK (artefact_digest ~ '^[0-9a-f]{64}$'),
            policy          text NOT NULL,
            policy_version  text NOT NULL,
            kind            text NOT NULL CHECK (kind IN ('bootstrap')),
            reason          text NOT NULL CHECK (reason <> ''),
            granted_at      timestamptz NOT NULL DEFAULT now(),
            expires         timestamptz NOT NULL CHECK (expires > granted_at)
        )""")
    op.execute("CREATE INDEX ON vigil.permit (model, role, permit_no)")
    op.execute("""
        CREATE UNIQUE INDEX permit_one_bootstrap_champion ON vigil.permit (model)
        WHERE kind = 'bootstrap' AND role = 'champion'""")
    op.execute("""
        CREATE TRIGGER permit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON vigil.permit
        FOR EACH STATEMENT EXECUTE FUNCTION vigil.refuse_change()""")
