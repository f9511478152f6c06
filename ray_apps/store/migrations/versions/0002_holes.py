"""Keep more of holes (what they concern, whether they were filled), of anomalies (their past), of shards (orders)."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


CHANGES = """
ALTER TABLE gaps ADD bar_s int NOT NULL DEFAULT 0 CHECK (bar_s >= 0), ADD is_filled boolean NOT NULL DEFAULT false,
    ADD n_bars int NOT NULL DEFAULT 0, ADD blind_s float8 NOT NULL DEFAULT 0;
CREATE INDEX gaps_to ON gaps (asset_class, to_ts);
ALTER TABLE anomalies ADD is_late boolean NOT NULL DEFAULT false, ADD history jsonb NOT NULL DEFAULT '[]';
CREATE INDEX anomalies_retracted ON anomalies (available_at) WHERE state = 'retracted';
ALTER TABLE applied ADD told jsonb;
CREATE INDEX episodes_notified ON episodes (notified_at) WHERE notified_at IS NOT NULL;
"""
UNDO = """
DROP INDEX episodes_notified;
ALTER TABLE applied DROP told;
DROP INDEX anomalies_retracted;
ALTER TABLE anomalies DROP is_late, DROP history;
DROP INDEX gaps_to;
ALTER TABLE gaps DROP bar_s, DROP is_filled, DROP n_bars, DROP blind_s;
"""


def upgrade() -> None:
    """Apply the step."""
    op.execute(CHANGES)


def downgrade() -> None:
    """Undo the step."""
    op.execute(UNDO)
