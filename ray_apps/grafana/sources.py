"""Give the data sources the boards ask, as Grafana is told them."""

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ray_apps.errors import UsageError

PROMETHEUS_UID, POSTGRES_UID = "tapewatch-prometheus", "tapewatch-postgres"


def prometheus(url: str) -> dict[str, Any]:
    """Give a Prometheus at `url`, as Grafana reaches it."""
    return {
        "uid": PROMETHEUS_UID, "name": "Tapewatch Prometheus", "type": "prometheus", "access": "proxy", "url": url,
        "jsonData": {"httpMethod": "POST", "timeInterval": "15s"},
    }  # fmt: skip


def postgres(dsn: str) -> dict[str, Any]:
    """Give a database of a URL `postgresql://user:password@host:port/name`, as Grafana reaches it.

    Without a password Grafana keeps the one it has.

    Raises
    ------
    UsageError
        When it is no such URL.

    >>> made = postgres("postgresql://reader:s%40cret@db:5433/tape?sslmode=require")
    >>> made["url"], made["user"], made["jsonData"]["database"], made["jsonData"]["sslmode"], made["secureJsonData"]
    ('db:5433', 'reader', 'tape', 'require', {'password': 's@cret'})
    """
    parts = urlsplit(dsn)
    name = parts.path.strip("/")
    if parts.scheme not in ("postgresql", "postgres") or not parts.hostname or not name or not parts.username:
        raise UsageError("--database: expected postgresql://user:password@host:port/name, was another")
    secret = {"secureJsonData": {"password": unquote(parts.password)}} if parts.password else {}
    mode = parse_qs(parts.query).get("sslmode", ["disable"])[0]
    return {
        "uid": POSTGRES_UID, "name": "Tapewatch PostgreSQL", "type": "grafana-postgresql-datasource",
        "access": "proxy", "url": f"{parts.hostname}:{parts.port or 5432}", "user": unquote(parts.username),
        "jsonData": {"database": name, "sslmode": mode, "postgresVersion": 1500, "timescaledb": False},
        **secret,
    }  # fmt: skip
