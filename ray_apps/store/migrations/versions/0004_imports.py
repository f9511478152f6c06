"""Remember which files of bars were imported whole."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE imports (
    asset_class text NOT NULL,
    source text NOT NULL,
    reading text NOT NULL,
    mark text NOT NULL,
    n_bars bigint NOT NULL CHECK (n_bars > 0),
    first_ts timestamptz NOT NULL,
    last_ts timestamptz NOT NULL,
    imported_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (asset_class, source, reading)
);
"""


def upgrade() -> None:
    """Apply the step."""
    op.execute(TABLE)


def downgrade() -> None:
    """Undo the step."""
    op.execute("DROP TABLE imports")
