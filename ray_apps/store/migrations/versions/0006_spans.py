"""Find the five-minute bars of a span without reading all that are kept."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# In a hypertable's place `bars_5m` is a view, whose aggregate is cut by time already.
UPGRADE = """
DO $$ BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'bars_5m'::regclass) = 'r' THEN
        CREATE INDEX bars_5m_ts ON bars_5m USING brin (ts) WITH (pages_per_range = 32, autosummarize = on);
    END IF;
END $$
"""


def upgrade() -> None:
    """Apply the step."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Undo the step."""
    op.execute("DROP INDEX IF EXISTS bars_5m_ts")
