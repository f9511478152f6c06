"""Share the calls one key may make among all processes that use it: one row, a rolling window."""

import hashlib

from features.market.types import AssetClass
from ray_apps.store.connect import Conn, fetch

# The last `most` times granted, in order. The next is granted now, or when the oldest of them has left the window:
# whoever asks gets a time of their own and only waits for it, so that nobody polls and nobody is passed over.
GRANT = """
INSERT INTO call_budgets AS b (key_digest, asset_class, granted)
VALUES (%(key)s, %(class)s, ARRAY[clock_timestamp()])
ON CONFLICT (key_digest, asset_class) DO UPDATE SET granted = (b.granted || greatest(
    clock_timestamp(),
    b.granted[cardinality(b.granted) - %(most)s + 1] + make_interval(secs => %(window)s)
))[greatest(1, cardinality(b.granted) - %(most)s + 2):]
RETURNING extract(epoch FROM granted[cardinality(granted)] - clock_timestamp())::float8
"""


def digest(key: str) -> str:
    """Give what stands for a key in the database.

    >>> digest("secret")
    '2bb80d537b1da3e38bd30361aa855686'
    """
    return hashlib.sha256(key.encode()).hexdigest()[:32]


async def grant(conn: Conn, key_digest: str, asset_class: AssetClass, most: int, window_s: float) -> float:
    """Take the next of `most` calls in any `window_s` seconds; give the seconds until it may be made.

    Only the database's clock counts. A time once given is not taken back.
    """
    params = {"key": key_digest, "class": asset_class.value, "most": most, "window": window_s}
    return max(0.0, float((await fetch(conn, GRANT, params))[0][0]))
