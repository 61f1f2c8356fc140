"""Tables of features: what was built from what. Append-only; the newest row of a key is the one in force."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE vigil.feature_build (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            view text NOT NULL,
            business_date date NOT NULL,
            definition_digest text NOT NULL,
            inputs_digest text NOT NULL,
            source_versions jsonb NOT NULL,
            lake_version bigint NOT NULL,
            rows bigint NOT NULL CHECK (rows > 0),
            content_digest text NOT NULL,
            built_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    op.execute("CREATE INDEX feature_build_newest ON vigil.feature_build (view, business_date, id DESC)")
    op.execute(
        """
        CREATE TABLE vigil.feature_snapshot (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            model text NOT NULL,
            business_date date NOT NULL,
            inputs_digest text NOT NULL,
            snapshot jsonb NOT NULL,
            built_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    op.execute("CREATE INDEX feature_snapshot_newest ON vigil.feature_snapshot (model, business_date, id DESC)")
    op.execute("CREATE SCHEMA feast")
