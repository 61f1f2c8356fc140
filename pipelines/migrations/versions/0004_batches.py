"""Tables of batches: what was scored, the published rows, the pointer readers follow, and its history."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE vigil.batch (
            batch_no            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            batch_id            text NOT NULL UNIQUE CHECK (batch_id ~ '^[0-9a-f]{64}$'),
            state               text NOT NULL DEFAULT 'scored' CHECK (state IN ('scored', 'published')),
            model               text NOT NULL,
            business_date       date NOT NULL,
            model_version       integer NOT NULL,
            artefact_digest     text NOT NULL,
            policy              text NOT NULL,
            policy_version      text NOT NULL,
            rows_in             bigint NOT NULL,
            rows_scored         bigint NOT NULL,
            rows_rejected       bigint NOT NULL,
            rows_quarantined    bigint NOT NULL,
            rows_review         bigint NOT NULL CHECK (rows_review <= rows_scored),
            reject_reasons      jsonb NOT NULL,
            review_reasons      jsonb NOT NULL,
            digest              text NOT NULL,
            psi                 double precision,
            psi_chance_99       double precision,
            feature_snapshot    jsonb NOT NULL,
            staged              text NOT NULL,
            shadow_note         text,
            scored_at           timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT rows_are_conserved CHECK (rows_in = rows_scored + rows_rejected + rows_quarantined)
        )""")
    op.execute("CREATE INDEX ON vigil.batch (model, business_date, batch_no)")
    op.execute("""
        CREATE TABLE vigil.shadow (
            batch_no        bigint NOT NULL REFERENCES vigil.batch,
            version         integer NOT NULL,
            artefact_digest text NOT NULL,
            rows            bigint NOT NULL,
            digest          text NOT NULL,
            lake_version    bigint NOT NULL,
            scored_at       timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (batch_no, version)
        )""")
    # Widest fixed columns first, so rows carry no padding; a row without a review reason was scored without reserve.
    op.execute("""
        CREATE TABLE vigil.score (
            batch_no      bigint NOT NULL,
            probability   double precision NOT NULL,
            token         uuid NOT NULL,
            model         text NOT NULL,
            review_reason text
        ) PARTITION BY LIST (model)""")
    # Rows of a batch arrive in token order and never change: a block range index finds one token at next to no cost.
    # Autovacuum summarises the newest rows within a minute of their publication; until then a reader scans those.
    op.execute("""
        CREATE INDEX score_batch_token ON vigil.score USING brin (batch_no, token)
        WITH (pages_per_range = 16, autosummarize = on)""")
    op.execute("""
        CREATE TABLE vigil.published (
            model         text NOT NULL,
            business_date date NOT NULL,
            batch_no      bigint NOT NULL REFERENCES vigil.batch,
            published_at  timestamptz NOT NULL DEFAULT now(),
            lake_version  bigint NOT NULL,
            PRIMARY KEY (model, business_date)
        )""")
    op.execute("""
        CREATE TABLE vigil.publication (
            publication_no    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            model             text NOT NULL,
            business_date     date NOT NULL,
            batch_no          bigint NOT NULL REFERENCES vigil.batch,
            previous_batch_no bigint REFERENCES vigil.batch,
            permit_no         bigint NOT NULL REFERENCES vigil.permit,
            lake_version      bigint NOT NULL,
            published_at      timestamptz NOT NULL DEFAULT now()
        )""")
    op.execute("""
        CREATE TRIGGER publication_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON vigil.publication
        FOR EACH STATEMENT EXECUTE FUNCTION vigil.refuse_change()""")
    op.execute("""
        CREATE VIEW vigil.published_score AS
        SELECT p.model, p.business_date, b.batch_id, b.model_version, s.token, s.probability,
               CASE WHEN s.review_reason IS NULL THEN 'scored' ELSE 'review' END AS route,
               s.review_reason, p.published_at
        FROM vigil.published p
        JOIN vigil.batch b USING (batch_no)
        JOIN vigil.score s ON s.model = p.model AND s.batch_no = p.batch_no""")
