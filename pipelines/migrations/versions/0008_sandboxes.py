"""Who made and removed sandboxes; and who may connect to the database of those who are let in by name only."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE vigil.sandbox_event (
            event_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name     text NOT NULL CHECK (name ~ '^[a-z][a-z0-9_]*$'),
            action   text NOT NULL CHECK (action IN ('created', 'refreshed', 'dropped')),
            home     text NOT NULL,
            by       text NOT NULL CHECK (by ~ '^[^@ ]+@[^@ ]+$'),
            login    text NOT NULL DEFAULT session_user,
            at       timestamptz NOT NULL DEFAULT now()
        )""")
    op.execute("""
        CREATE TRIGGER sandbox_event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON vigil.sandbox_event
        FOR EACH STATEMENT EXECUTE FUNCTION vigil.refuse_change()""")
    # Where everybody may connect this changes nothing; where nobody is let in unasked, as it should be, these are asked.
    op.execute("""
        DO $$ BEGIN
            EXECUTE format('GRANT CONNECT ON DATABASE %I TO vigil_investigator, vigil_sar_officer', current_database());
        END $$""")
