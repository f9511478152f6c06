"""Speak with Grafana's HTTP API through grafana-client, with our errors."""

import contextlib
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests
from grafana_client import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException, GrafanaServerError, TokenAuth

from ray_apps.errors import UserError
from ray_apps.sinks.base import SinkUnavailableError

TIMEOUT_S = 10.0
PASSING = (408, 429)
"""The client errors that pass with time."""


def api(url: str, token: str) -> GrafanaApi:
    """Give a client of the Grafana at `url`; it connects at its first call."""
    parts = urlsplit(url)
    prefix = f"{parts.path.strip('/')}/".lstrip("/")
    made = GrafanaApi(TokenAuth(token), parts.hostname, parts.port, prefix, parts.scheme, timeout=TIMEOUT_S)
    made.client.s.trust_env = False  # the token goes where it was meant to go
    return made


def require_grafana(api: GrafanaApi) -> None:
    """Ask for its health, which a Grafana tells anyone.

    Raises
    ------
    UserError
        When something else answers.
    GrafanaException, requests.RequestException
        When a Grafana is not healthy, or nothing answers.
    """
    try:
        said = api.health.check()
    except (GrafanaClientError, requests.JSONDecodeError):
        said = None
    if not isinstance(said, dict) or "database" not in said:
        raise UserError(f"--url: expected a Grafana, with `database` in {api.client.url}/health, was another server")


def is_passing(error: GrafanaException) -> bool:
    """Say whether the same request may work later."""
    return isinstance(error, GrafanaServerError) or error.status_code in PASSING


@contextlib.contextmanager
def away() -> Iterator[None]:
    """Turn a Grafana that cannot be reached, or takes no token of ours, into SinkUnavailableError."""
    try:
        yield
    except (requests.RequestException, OSError) as e:
        raise SinkUnavailableError(f"expected Grafana to answer, was {type(e).__name__}: {e}") from e
    except GrafanaException as e:
        if e.status_code in (401, 403, 502, 503, 504):
            raise SinkUnavailableError(f"expected Grafana to take the token, was {e.status_code}: {e.message}") from e
        raise
