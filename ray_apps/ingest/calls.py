"""Make REST calls to the vendor through its own client, which neither times out nor retries as it should.

`polygon-api-client` 1.16.3 ignores its timeouts, drops the status of a refusal and retries four times within half
a second. So its connection pool is replaced by one with timeouts and without retries, and calls are repeated here.
"""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar

import certifi
import urllib3
from polygon import RESTClient

from features.market.errors import DataError
from features.market.types import AssetClass
from ray_apps.ingest import verdict
from ray_apps.ingest.backoff import full_jitter
from ray_apps.ingest.plan import HistoryPlan
from ray_apps.ingest.rate import Rate
from ray_apps.ingest.verdict import VendorAwayError

T = TypeVar("T")

MAX_BODY_BYTES = 64 * 2**20
"""A full page of 50,000 bars takes 6 MB."""
_PIECE_BYTES = 2**16
_GRACE_S = 5.0
_RETRY_AFTER_SPREAD_S = 0.25


class _Refused(Exception):
    """An answer other than 200."""

    def __init__(self, code: int, retry_after: str | None, body: bytes) -> None:
        super().__init__(f"HTTP {code}")
        self.code, self.retry_after, self.body = code, retry_after, body


@dataclass(frozen=True, slots=True)
class _Again:
    """Why a call is worth another try; `wait_s` as the vendor asked."""

    why: str
    cause: Exception
    is_rate: bool = False
    wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What the client looks at, and what a reader reads."""

    status: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """A call, and what reads its answer: a DataError of the reader is a broken answer."""

    call: Callable[[RESTClient], Reply]
    read: Callable[[bytes], T]


class _Pool(urllib3.PoolManager):
    """Connections that end in time, say why they were refused, and follow nothing to other hosts."""

    def __init__(self, plan: HistoryPlan) -> None:
        super().__init__(
            num_pools=1, maxsize=plan.in_flight, block=True, retries=False,
            timeout=urllib3.Timeout(connect=plan.connect_timeout_s, read=plan.read_timeout_s),
            cert_reqs="CERT_REQUIRED", ca_certs=certifi.where(),
        )  # fmt: skip
        self._call_timeout_s = plan.call_timeout_s

    def urlopen(  # type: ignore[override]
        self, method: str, url: str, redirect: bool = False, **kw: Any
    ) -> Reply:
        deadline = time.monotonic() + self._call_timeout_s
        answer = super().urlopen(method, url, redirect=False, preload_content=False, **kw)
        body = bytearray()
        try:
            while piece := answer.read1(_PIECE_BYTES, decode_content=True):  # what has come, so that time is looked at
                body += piece
                if time.monotonic() > deadline:
                    raise urllib3.exceptions.HTTPError(f"expected an answer in {self._call_timeout_s} s, was slower")
                if len(body) > MAX_BODY_BYTES:
                    raise urllib3.exceptions.HTTPError(f"expected at most {MAX_BODY_BYTES} bytes, was more")
        except BaseException:
            answer.close()
            raise
        answer.release_conn()
        if answer.status != 200:
            raise _Refused(answer.status, answer.headers.get("Retry-After"), bytes(body))
        return Reply(answer.status, bytes(body))


class Calls:
    """Makes calls, a bounded number at once, at the plan's rate, again where that helps.

    `n_calls` counts the calls made, `n_again` those that had to be made again.
    """

    def __init__(self, plan: HistoryPlan) -> None:
        self.plan = plan
        self.n_calls = 0
        self.n_again = 0
        self._rng = random.Random()  # noqa: S311 (spreads waits)
        self.rate = Rate(plan, self._rng)
        self._rest = RESTClient(api_key=plan.api_key, base=plan.base_url.rstrip("/"))
        self._rest.client = _Pool(plan)
        self._threads = ThreadPoolExecutor(plan.in_flight, "history")
        self._free = asyncio.Semaphore(plan.in_flight)
        # One reads at a time: several would only keep the event loop, which feeds the database, from the interpreter.
        self._reading = threading.Lock()

    async def ask(self, question: Question[T], counted_as: AssetClass | None = None) -> T:
        """Give the answer to a question, called and read in a thread.

        Raises
        ------
        HistoryError
            What a refusal says; VendorAwayError when no usable answer came in all tries.
        StoreUnavailableError
            When the database that counts the calls is away.
        """
        plan = self.plan
        waits = full_jitter(self._rng, plan.backoff_base_s, plan.backoff_cap_s)
        tried = 0
        while True:
            tried += 1
            found = await self._once(question, counted_as or plan.asset_class)
            if not isinstance(found, _Again):
                return found
            wait_s = next(waits) if found.wait_s is None else found.wait_s + self._rng.uniform(0, _RETRY_AFTER_SPREAD_S)
            if tried >= (plan.rate_tries if found.is_rate else plan.tries) or wait_s > plan.patience_s:
                raise VendorAwayError(self._hide(
                    f"expected an answer from {plan.base_url}, was in {tried} tries: {found.why}"
                )) from found.cause  # fmt: skip
            self.n_again += 1
            await asyncio.sleep(wait_s)

    async def close(self) -> None:
        """Make no more calls; those under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._rest.client.clear()
        await self.rate.close()

    async def _once(self, question: Question[T], asset_class: AssetClass) -> T | _Again:
        async with self._free:
            await self.rate.turn(asset_class)
            self.n_calls += 1
            try:
                async with asyncio.timeout(self.plan.call_timeout_s + self.plan.connect_timeout_s + _GRACE_S):
                    loop = asyncio.get_running_loop()
                    return await loop.run_in_executor(self._threads, self._call, question)
            except _Refused as e:
                return self._judge(e)
            except (urllib3.exceptions.HTTPError, OSError, DataError) as e:
                return _Again(_one_line(e), e)

    def _call(self, question: Question[T]) -> T:
        body = question.call(self._rest).data
        with self._reading:
            return question.read(body)

    def _judge(self, refused: _Refused) -> _Again:
        said = self._hide(verdict.said(refused.body))
        error = verdict.refusal(refused.code, said)
        if error is not None:
            raise error from None
        is_rate = refused.code == verdict.TOO_OFTEN
        why = f"{refused.code} {said}".rstrip()
        return _Again(why, refused, is_rate, retry_after_s(refused.retry_after, datetime.now(UTC)))

    def _hide(self, text: str) -> str:
        """Take the key out of what a server may have said back."""
        return text.replace(self.plan.api_key, "[key]")


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Give the wait a Retry-After header asks for, in seconds or until a date; None where it says neither.

    >>> retry_after_s("7", datetime(2026, 1, 1, tzinfo=UTC)), retry_after_s("soon", datetime(2026, 1, 1, tzinfo=UTC))
    (7.0, None)
    >>> retry_after_s("Thu, 01 Jan 2026 00:00:30 GMT", datetime(2026, 1, 1, tzinfo=UTC))
    30.0
    """
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__} {text}".rstrip()
