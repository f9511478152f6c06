"""Remember what of the past was brought, and share a key's calls among processes."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE backfills (
    asset_class text NOT NULL,
    symbol text NOT NULL,
    bar_s int NOT NULL CHECK (bar_s > 0),
    covered tstzmultirange NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (asset_class, symbol, bar_s)
);
CREATE TABLE call_budgets (
    key_digest text NOT NULL,
    asset_class text NOT NULL,
    granted timestamptz[] NOT NULL,
    PRIMARY KEY (key_digest, asset_class)
);
CREATE TABLE unrolled_days (day int PRIMARY KEY);
"""


def upgrade() -> None:
    """Apply the step."""
    op.execute(TABLES)


def downgrade() -> None:
    """Undo the step."""
    op.execute("DROP TABLE unrolled_days")
    op.execute("DROP TABLE call_budgets")
    op.execute("DROP TABLE backfills")
