"""Say when a message was stored, and when what it holds was known."""

import time
from dataclasses import dataclass

from features.market.types import NS_PER_S, BarBatch
from features.stages.context import Contexts
from ray_apps.shards.messages import Ack, Message


@dataclass(frozen=True, slots=True)
class Receipt:
    """A message whose transaction is committed.

    Attributes
    ----------
    stored_ns
        When the shard's answer came, UTC ns.
    received_ns
        When the last frame of its bars came, UTC ns; 0 where it holds no bars.
    end_ns
        End of the window it closes, on the feed's clock; 0 where it closes none.
    closed_ns
        When that window closed, UTC ns.
    newest_ns
        Start of its newest bar, on the feed's clock.
    n_bars, n_anomalies
        What was stored.
    """

    stored_ns: int
    received_ns: int
    end_ns: int
    closed_ns: int
    newest_ns: int
    n_bars: int
    n_anomalies: int


def receipt(message: Message, ack: Ack, last_close_s: float) -> Receipt:
    """Give the receipt of a message acknowledged now; `last_close_s` is the monotonic time of the newest close."""
    now_ns = time.time_ns()
    batches = [i for i in message.items if isinstance(i, BarBatch) and len(i)]
    ends = [int(i.end[0]) for i in message.items if isinstance(i, Contexts)]
    return Receipt(
        stored_ns=now_ns,
        received_ns=max((b.recv_ns for b in batches), default=0),
        end_ns=max(ends, default=0),
        closed_ns=now_ns - int((time.monotonic() - last_close_s) * NS_PER_S) if ends else 0,
        newest_ns=max((int(b.ts.max()) for b in batches), default=0),
        n_bars=message.n_bars,
        n_anomalies=ack.n_anomalies,
    )
