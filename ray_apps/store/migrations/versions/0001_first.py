"""Make the tables of the live path.

Notes
-----
`bars` is partitioned by UTC day (made on demand by `ray_apps.store.partitions`): dropping a day is free, and
a day's primary key stays in memory. Prices are float64 as everywhere; NULL where the venue did not say. `ts`
is the start of a window. BRIN on `ts` costs next to nothing on insert and finds "all since the checkpoint".
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BAR_COLUMNS = """
    series_id int NOT NULL,
    ts timestamptz NOT NULL,
    open float8 NOT NULL,
    high float8 NOT NULL,
    low float8 NOT NULL,
    close float8 NOT NULL,
    volume float8,
    vwap float8,
    trades float8"""

TABLES = f"""
CREATE TABLE series (
    id int PRIMARY KEY,
    asset_class text NOT NULL,
    slot int NOT NULL CHECK (slot >= 0),
    symbol text NOT NULL,
    bar_s int NOT NULL CHECK (bar_s > 0),
    first_seen timestamptz NOT NULL DEFAULT now(),
    UNIQUE (asset_class, slot),
    UNIQUE (asset_class, symbol, bar_s)
);
CREATE TABLE bars ({BAR_COLUMNS},
    received_at timestamptz NOT NULL,
    revised_at timestamptz,
    revision smallint NOT NULL DEFAULT 0,
    in_state boolean NOT NULL,
    PRIMARY KEY (series_id, ts)
) PARTITION BY RANGE (ts);
CREATE INDEX bars_ts ON bars USING brin (ts) WITH (pages_per_range = 32, autosummarize = on);
CREATE TABLE bar_revisions ({BAR_COLUMNS},
    received_at timestamptz NOT NULL,
    revision smallint NOT NULL,
    in_state boolean NOT NULL,
    superseded_at timestamptz NOT NULL,
    PRIMARY KEY (series_id, ts, revision)
);
CREATE INDEX bar_revisions_ts ON bar_revisions (ts);
CREATE TABLE bars_5m ({BAR_COLUMNS}, PRIMARY KEY (series_id, ts));
CREATE TABLE bars_1h ({BAR_COLUMNS}, PRIMARY KEY (series_id, ts));
CREATE TABLE anomalies (
    id text PRIMARY KEY,
    asset_class text NOT NULL,
    symbol text NOT NULL,
    series_id int NOT NULL,
    bar_s int NOT NULL,
    ts timestamptz NOT NULL,
    available_at timestamptz NOT NULL,
    kind text NOT NULL,
    own_kind text NOT NULL,
    score float8 NOT NULL,
    p_value float8,
    rate float8,
    severity text NOT NULL CHECK (severity IN ('low', 'medium', 'high', 'critical')),
    state text NOT NULL CHECK (state IN ('provisional', 'confirmed', 'amended', 'retracted')),
    direction smallint NOT NULL,
    reading text NOT NULL,
    scores jsonb NOT NULL,
    features jsonb NOT NULL,
    versions jsonb NOT NULL,
    norms jsonb NOT NULL,
    episode_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX anomalies_ts ON anomalies (ts, id);
CREATE INDEX anomalies_symbol ON anomalies (symbol, ts, id);
CREATE INDEX anomalies_episode ON anomalies (episode_id) WHERE episode_id IS NOT NULL;
CREATE INDEX anomalies_provisional ON anomalies (available_at) WHERE state = 'provisional';
CREATE TABLE episodes (
    id text PRIMARY KEY,
    asset_class text NOT NULL,
    symbol text,
    kind text NOT NULL,
    opened_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    closed_at timestamptz,
    n_anomalies int NOT NULL,
    severity text NOT NULL CHECK (severity IN ('low', 'medium', 'high', 'critical')),
    rate float8,
    p_value float8,
    score float8,
    breadth float8,
    leaders jsonb NOT NULL,
    members jsonb NOT NULL,
    notified_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX episodes_opened ON episodes (opened_at, id);
CREATE INDEX episodes_open ON episodes (asset_class, symbol) WHERE closed_at IS NULL;
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sink text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    attempts int NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz,
    dead_at timestamptz,
    last_error text,
    UNIQUE (sink, key)
);
CREATE INDEX outbox_due ON outbox (sink, next_at, id) WHERE delivered_at IS NULL AND dead_at IS NULL;
CREATE INDEX outbox_dead ON outbox (sink, id) WHERE dead_at IS NOT NULL;
CREATE TABLE feeds (
    asset_class text PRIMARY KEY,
    status text NOT NULL,
    host text NOT NULL,
    tier text NOT NULL,
    connected_at timestamptz,
    newest_ts timestamptz,
    lag_s float8,
    detail text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE gaps (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asset_class text NOT NULL,
    from_ts timestamptz NOT NULL,
    to_ts timestamptz NOT NULL CHECK (to_ts >= from_ts),
    reason text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (asset_class, from_ts, to_ts, reason)
);
CREATE TABLE leases (
    name text PRIMARY KEY,
    holder text NOT NULL,
    epoch bigint NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE TABLE applied (
    shard text PRIMARY KEY,
    epoch bigint NOT NULL,
    seq bigint NOT NULL
);
CREATE TABLE contexts (
    asset_class text NOT NULL,
    window_s int NOT NULL,
    ts_end timestamptz NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (asset_class, window_s, ts_end)
);
CREATE TABLE checkpoints (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stage text NOT NULL,
    asset_class text NOT NULL,
    shard text NOT NULL,
    path text NOT NULL,
    position jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX checkpoints_of ON checkpoints (stage, asset_class, shard, id);
"""

DROPS = (
    "checkpoints contexts applied leases gaps feeds outbox episodes anomalies bars_1h bars_5m bar_revisions bars series"
)


def upgrade() -> None:
    """Apply the step."""
    op.execute(TABLES)


def downgrade() -> None:
    """Undo the step."""
    for table in DROPS.split():
        op.execute(f"DROP TABLE {table}")
