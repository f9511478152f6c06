"""Post notifications to a URL, signed, with a key that makes a repeated delivery recognisable.

The receiver checks `X-Tapewatch-Signature`: "sha256=" + hex of HMAC-SHA256 over timestamp + "." + body with the
shared secret, and refuses old values of `X-Tapewatch-Timestamp`; `Idempotency-Key` is the same at every try.
"""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable, Sequence

import httpx

from ray_apps.sinks.base import DELIVERED, Message, Outcome, Verdict

AGAIN = (408, 425, 429)
"""The client errors that pass with time: timeout, too early, too many requests."""

TIMEOUT_S = 10.0
AT_ONCE = 4
LONGEST_RETRY_AFTER_S = 3600.0


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """Give the signature of a body posted at a time (Unix seconds).

    >>> signature("secret", 1700000000, b"{}")[:23]
    'sha256=b8569b78799ff9e3'
    """
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"sha256={digest}"


class Webhook:
    """The sink `webhook` (or another name, where there are several).

    2xx is delivered; 5xx, 408, 425, 429, a lost or slow connection is tried again; anything else is dead at once.
    Redirects are not followed: a signed body goes where it was meant to go.

    Parameters
    ----------
    url, secret
        Where to, and the shared secret of the signature; without one nothing is signed.
    clock
        Gives Unix seconds.
    """

    def __init__(
        self,
        url: str,
        secret: str | None = None,
        name: str = "webhook",
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._url = url
        self._secret = secret
        self._clock = clock
        limits = httpx.Limits(max_connections=AT_ONCE)
        self._client = httpx.AsyncClient(timeout=timeout_s, limits=limits, follow_redirects=False, trust_env=False)
        self._room = asyncio.Semaphore(AT_ONCE)

    async def deliver(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        """Post messages, a few at a time."""
        return await asyncio.gather(*(self._post(m) for m in messages))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _post(self, message: Message) -> Outcome:
        async with self._room:
            timestamp = int(self._clock())
            headers = {
                "Content-Type": "application/json",
                "User-Agent": "tapewatch",
                "Idempotency-Key": message.key,
                "X-Tapewatch-Topic": message.topic,
                "X-Tapewatch-Timestamp": str(timestamp),
            }
            if self._secret is not None:
                headers["X-Tapewatch-Signature"] = signature(self._secret, timestamp, message.payload)
            try:
                response = await self._client.post(self._url, content=message.payload, headers=headers)
            except httpx.TransportError as e:
                return Outcome(Verdict.RETRY, f"expected an answer, was {type(e).__name__}: {e}")
            except (httpx.InvalidURL, httpx.HTTPError, ValueError) as e:
                return Outcome(Verdict.DEAD, f"expected a request that can be sent, was {type(e).__name__}: {e}")
        return _judge(response)


def _judge(response: httpx.Response) -> Outcome:
    if response.is_success:
        return DELIVERED
    error = f"expected status 2xx, was {response.status_code} {response.text[:200]}".strip()
    if response.status_code >= 500 or response.status_code in AGAIN:
        return Outcome(Verdict.RETRY, error, _retry_after_s(response.headers.get("Retry-After", "")))
    return Outcome(Verdict.DEAD, error)


def _retry_after_s(value: str) -> float | None:
    """Give the seconds the server asked for; a date is not honoured, our own back-off is long enough."""
    return min(float(value), LONGEST_RETRY_AFTER_S) if value.isdecimal() else None
