"""When a step of a model last ended well on a business date; what failed before that was made good."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE vigil.completion (
            model         text NOT NULL,
            step          text NOT NULL CHECK (step IN ('train', 'publish', 'materialise')),
            business_date date NOT NULL,
            completed_at  timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (model, step, business_date)
        )""")
    op.execute("""
        INSERT INTO vigil.completion (model, step, business_date, completed_at)
        SELECT model, 'publish', business_date, published_at FROM vigil.published""")
