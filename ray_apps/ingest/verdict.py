"""Say what the vendor's answers to REST calls mean: what the plan is, and what a refusal asks of us."""

from datetime import datetime
from typing import Literal

import msgspec

from features.market.types import AssetClass

# A name each market has had for years: the question is whether it may be asked, not what the answer is.
WELL_KNOWN = {
    AssetClass.STOCKS: "AAPL",
    AssetClass.CRYPTO: "X:BTCUSD",
    AssetClass.FOREX: "C:EURUSD",
    AssetClass.INDICES: "I:SPX",
    AssetClass.OPTIONS: "O:SPY261218C00650000",
    AssetClass.FUTURES: "ESZ6",
}
Answer = Literal["real-time", "delayed", "end of day", "not in the plan", "not answered"]
TOO_OFTEN = 429
_AGAIN = (408, TOO_OFTEN, 499)
_SAID_CHARS = 200


class HistoryError(Exception):
    """The vendor's past cannot be had; each child says what is to be done about it."""


class KeyRefusedError(HistoryError):
    """The key is not accepted: a person must act, no other call will do better."""


class NotInPlanError(HistoryError):
    """The plan does not have this market at all: a person must act."""


class OutsidePlanError(HistoryError):
    """The plan has this market, but not this time: ask for a later or an earlier one."""


class CallRefusedError(HistoryError):
    """The vendor does not take this call: what was asked for does not exist."""


class NotThereError(CallRefusedError):
    """The vendor has nothing of this name."""


class VendorAwayError(HistoryError):
    """No usable answer came, however often it was asked: try again later."""


class _Body(msgspec.Struct):
    status: str = ""
    error: str = ""
    message: str = ""


class _Clock(msgspec.Struct):
    serverTime: datetime


def said(body: bytes) -> str:
    """Give what a refusal says, from any body; one line, bounded.

    >>> said(b'{"error": "Unknown API Key"}'), said(b'<h1>502</h1>')
    ('Unknown API Key', '<h1>502</h1>')
    """
    try:
        found = msgspec.json.decode(body, type=_Body)
        text = found.error or found.message
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body.decode("utf-8", "replace")
    return " ".join(text.split())[:_SAID_CHARS]


def status(body: bytes) -> str:
    """Give the status word of an answer, such as OK or DELAYED; "" where it has none."""
    try:
        return msgspec.json.decode(body, type=_Body).status
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def server_time_ms(body: bytes) -> int:
    """Give the vendor's time, Unix ms, from the answer to a question about the market's status; 0 where it has none.

    >>> server_time_ms(b'{"serverTime": "2026-09-18T16:05:07-04:00"}')
    1789761907000
    """
    try:
        return int(msgspec.json.decode(body, type=_Clock).serverTime.timestamp() * 1000)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        return 0


def judge(code: int, said: str) -> Answer:
    """Give what an answer to a question about the newest bars means; `said` is its status word or refusal.

    >>> judge(200, "OK"), judge(200, "DELAYED"), judge(429, "exceeded the maximum requests per minute")
    ('real-time', 'delayed', 'not answered')
    >>> judge(403, "Your plan doesn't include this data timeframe."), judge(403, "You are not entitled to this data.")
    ('end of day', 'not in the plan')
    """
    if code == 200:
        return "delayed" if said == "DELAYED" else "real-time"
    if code == 403:
        return "end of day" if "timeframe" in said else "not in the plan"
    return "not answered"


def refusal(code: int, said: str) -> HistoryError | None:
    """Give the error a refusal is; None where the same call may be answered later.

    >>> refusal(401, "Unknown API Key")
    KeyRefusedError('expected a key the vendor accepts, was refused: 401 Unknown API Key')
    >>> refusal(503, "") is None
    True
    """
    if code in _AGAIN or code >= 500:
        return None
    was = f"{code} {said}".rstrip()
    if code == 401:
        return KeyRefusedError(f"expected a key the vendor accepts, was refused: {was}")
    if code == 403 and judge(code, said) == "end of day":
        return OutsidePlanError(f"expected a time the plan includes, was refused: {was}")
    if code == 403:
        return NotInPlanError(f"expected a market the plan includes, was refused: {was}")
    kind = NotThereError if code == 404 else CallRefusedError
    return kind(f"expected a call the vendor takes, was refused: {was}")
