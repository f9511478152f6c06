"""Keep bars in a hypertable where a fresh database offers TimescaleDB."""

import logging

from alembic import op
from sqlalchemy import text

from ray_apps.store import timescale

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LOG = logging.getLogger(__name__)


def upgrade() -> None:
    """Apply the step."""
    why_not = timescale.adopt(op.get_bind())
    if why_not:
        LOG.warning("TimescaleDB is there and not used, bars stay in plain tables: %s", why_not)


def downgrade() -> None:
    """Undo the step."""
    if op.get_bind().execute(text(timescale.IS_HYPER)).scalar():
        for statement in timescale.undoing():
            op.execute(statement)
