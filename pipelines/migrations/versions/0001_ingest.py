"""Tables of ingest and quality, and the schema of protected attributes. Append-only; the newest row is the one in force."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE vigil.landing (
            landing_no    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            source        text NOT NULL,
            business_date date NOT NULL,
            content       text NOT NULL CHECK (content ~ '^[0-9a-f]{64}$'),
            delivery      text NOT NULL CHECK (delivery ~ '^[0-9a-f]{64}$'),
            manifest      jsonb NOT NULL,
            landed_at     timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT rows_are_conserved CHECK (
                (manifest ->> 'rows_in')::bigint
                = (manifest ->> 'rows_published')::bigint + (manifest ->> 'rows_quarantined')::bigint)
        )""")
    op.execute("CREATE INDEX landing_newest ON vigil.landing (source, business_date, landing_no DESC)")
    op.execute("CREATE INDEX landing_delivery ON vigil.landing (source, delivery)")
    op.execute("""
        CREATE TABLE vigil.quality_verdict (
            verdict_no    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            subject       text NOT NULL,
            business_date date NOT NULL,
            lake_version  bigint NOT NULL,
            rules         text NOT NULL CHECK (rules ~ '^[0-9a-f]{64}$'),
            passed        boolean NOT NULL,
            verdict       jsonb NOT NULL,
            judged_at     timestamptz NOT NULL DEFAULT now()
        )""")
    op.execute("CREATE INDEX quality_verdict_newest ON vigil.quality_verdict (subject, business_date, verdict_no DESC)")
    op.execute("""
        CREATE TABLE vigil.source_publication (
            publication_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            source         text NOT NULL,
            business_date  date NOT NULL,
            landing_no     bigint NOT NULL REFERENCES vigil.landing,
            verdict_no     bigint NOT NULL REFERENCES vigil.quality_verdict,
            manifest       jsonb NOT NULL,
            published_at   timestamptz NOT NULL DEFAULT now()
        )""")
    op.execute("""
        CREATE INDEX source_publication_newest
        ON vigil.source_publication (source, business_date, publication_no DESC)""")
    op.execute("CREATE SCHEMA protected")
    op.execute("REVOKE ALL ON SCHEMA protected FROM PUBLIC")
