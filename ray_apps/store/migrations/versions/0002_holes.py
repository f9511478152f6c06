"""Say of a hole which bar length it concerns, of a shard how it was told to judge."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.execute("ALTER TABLE gaps ADD bar_s int NOT NULL DEFAULT 0 CHECK (bar_s >= 0)")
    op.execute("ALTER TABLE applied ADD told jsonb")
    op.execute("CREATE INDEX gaps_to ON gaps (asset_class, to_ts)")


def downgrade() -> None:
    """Undo the step."""
    op.execute("DROP INDEX gaps_to")
    op.execute("ALTER TABLE applied DROP told")
    op.execute("ALTER TABLE gaps DROP bar_s")
