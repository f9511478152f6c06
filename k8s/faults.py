"""Install as people do by mistake, on the cluster in KUBECONFIG: see what is said, and that all of it goes again.

`python -m k8s.faults` prints one line per fault with the words that name it, and a summary; it exits 1 where one is
not told, where a database is left half made, or where an uninstall leaves something. The image and those of
`ci/kind-values.yaml` must be in the cluster already.
"""

import argparse
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from k8s.reach import CHART, READY_S, RELEASE, Run, until

TOLD_S = 240.0
THEIRS = "someones-postgresql"
"""A database that is not of the chart, on a small volume."""
NOWHERE = "10.96.255.250"
"""An address of no Service."""
VOLUME_MB = 192
THEIRS_SPEC = f"""{{"spec": {{
  "containers": [{{
    "name": "{THEIRS}", "image": "postgres:15", "imagePullPolicy": "IfNotPresent",
    "env": [{{"name": "POSTGRES_PASSWORD", "value": "right"}},
            {{"name": "PGDATA", "value": "/var/lib/postgresql/data/pgdata"}}],
    "args": ["postgres", "-c", "max_wal_size=48MB", "-c", "min_wal_size=32MB"],
    "volumeMounts": [{{"name": "data", "mountPath": "/var/lib/postgresql/data"}}]}}],
  "volumes": [{{"name": "data", "emptyDir": {{"medium": "Memory", "sizeLimit": "{VOLUME_MB}Mi"}}}}]}}}}"""
THEIR_DATABASE = ("postgresql.enabled=false", "postgresql.existingSecret=their-database")
VENDOR = "someones-vendor"
"""A simulator that is not of the chart."""
VENDOR_SPEC = """{"spec": {"containers": [{
    "name": "vendor", "image": "tapewatch:0.1.0", "imagePullPolicy": "IfNotPresent",
    "command": ["tapewatch", "simulate", "--host=0.0.0.0", "--symbols=20"]}]}}"""
VENDORS_KEYS = (
    "settings.source=polygon",
    f"settings.polygon.ws_host={VENDOR}:8765",
    "settings.polygon.ws_secure=false",
    f"settings.polygon.rest_url=http://{VENDOR}:8080",
    "vendor.existingSecret=their-key",
    "vendor.tiers.stocks=advanced",
    "vendor.tiers.crypto=advanced",
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A mistake: what is set, where it must be told and in which words, the Secrets it names, how it goes again."""

    name: str
    sets: tuple[str, ...]
    where: Callable[[Run], str]
    words: str
    secrets: dict[str, str] = field(default_factory=dict)
    uninstall: tuple[str, ...] = ()
    then: Callable[[Run], str] = lambda _: ""


def waiting(on: Run) -> str:
    """Say why containers wait."""
    path = "{.items[*].status['initContainerStatuses','containerStatuses'][*].state.waiting['reason','message']}"
    return on.kubectl("get", "pods", "-o", f"jsonpath={path}")


def migration(on: Run) -> str:
    """Give what the status of the migration's pods keeps of their last words."""
    path = "{.items[*].status.containerStatuses[*]['state','lastState'].terminated.message}"
    of = f"app.kubernetes.io/component=migrate,app.kubernetes.io/instance={RELEASE}"
    return on.kubectl("get", "pods", "-l", of, "-o", f"jsonpath={path}")


def worker(on: Run) -> str:
    """Give what the worker says."""
    return "\n".join(on.kubectl("logs", pod, "-c", "ray-worker") for pod in on.pods("worker"))


def ready(on: Run) -> str:
    """Give what the gateway says of the parts."""
    with on.service(RELEASE, 8000) as client:
        return client.get("/readyz").text


def theirs(on: Run, *command: str) -> str:
    """Run a command beside the database that is not of the chart."""
    return on.kubectl("exec", THEIRS, "--", *command)


def sql(on: Run, query: str) -> str:
    """Ask that database."""
    return theirs(on, "psql", "-U", "postgres", "-tA", "-c", query).strip()


def nothing_made(on: Run) -> str:
    """Find no table in the database."""
    n = int(sql(on, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"))
    assert n == 0, f"expected no table after a migration that failed, was {n}"
    return "no table made"


def fill(on: Run) -> str:
    """Fill the volume of the database once bars come; give what the gateway says then."""
    if not theirs(on, "sh", "-c", "ls /var/lib/postgresql/data").count("filler"):
        stored = int(sql(on, "SELECT count(*) FROM bars"))  # of the installs before
        until(lambda: int(sql(on, "SELECT count(*) FROM bars")) > stored, READY_S, "bars")
        theirs(on, "sh", "-c", "dd if=/dev/zero of=/var/lib/postgresql/data/filler bs=64k 2> /dev/null || true")
    return worker(on) + ready(on)


def make_room(on: Run) -> str:
    """Give the volume its room again; see bars go on."""
    theirs(on, "rm", "/var/lib/postgresql/data/filler")
    began = time.monotonic()
    newest = sql(on, "SELECT max(ts) FROM bars")
    until(lambda: sql(on, "SELECT max(ts) FROM bars") > newest, TOLD_S, "bars after room was made")
    until(lambda: '"ready":true' in ready(on).replace(" ", ""), TOLD_S, "readiness after room was made")
    return f"with room again, bars and ready after {time.monotonic() - began:.0f} s"


def faults() -> list[Fault]:
    """List them."""
    url = f"postgresql://{{}}@{THEIRS}:5432/postgres"
    return [
        Fault(
            "image missing",
            ("image.tag=0.0.0-none",),
            waiting,
            r"\S*tapewatch:0\.0\.0-none\S*",
            uninstall=("--no-hooks",),  # the job before an uninstall has no image either
        ),
        Fault("wrong vendor's key", VENDORS_KEYS, worker, r"the vendor refuses[^\"]*", {"their-key": "wrong"}),
        Fault(
            "database unreachable",
            THEIR_DATABASE,
            migration,
            rf"database \S*{NOWHERE}.*NetworkPolicy.*",
            {"their-database": f"postgresql://joe:hush@{NOWHERE}:5432/tape"},
            then=nothing_made,
        ),
        Fault(
            "wrong password",
            THEIR_DATABASE,
            migration,
            r"database .*password authentication failed.*",
            {"their-database": url.format("postgres:hush")},
            then=nothing_made,
        ),
        Fault(
            "no permission to make tables",
            THEIR_DATABASE,
            migration,
            r"database .*permission denied.*ALTER DATABASE.*",
            {"their-database": url.format("reader:hush")},
            then=nothing_made,
        ),
        Fault(
            "redis unreachable",
            (*THEIR_DATABASE, "redis.enabled=false", "redis.existingSecret=their-redis", "ray.gcsFaultTolerance=false"),
            ready,
            r"redis: expected Redis to answer[^\"]*",
            {"their-database": url.format("postgres:right"), "their-redis": f"redis://:hush@{NOWHERE}:6379/0"},
        ),
        Fault(
            "volume full",
            THEIR_DATABASE,
            fill,
            r"[^\"]*No space left[^\"]*",
            {"their-database": url.format("postgres:right")},
            then=make_room,
        ),
    ]


def prove(on: Run, fault: Fault) -> str:
    """Install with the mistake, wait for its words, go on, uninstall."""
    for name, value in fault.secrets.items():
        on.kubectl("delete", "secret", name, "--ignore-not-found")
        key = "POLYGON_API_KEY" if name == "their-key" else "url"
        on.kubectl("create", "secret", "generic", name, f"--from-literal={key}={value}")
    sets = ",".join((*fault.sets, "migration.waitSeconds=15", "persistence.enabled=false"))
    said: list[str] = []

    def is_told() -> bool:
        found = re.search(fault.words, fault.where(on))
        said[:] = [found[0].strip()] if found else []
        return bool(found)

    try:
        with_helm(on, "install", str(CHART), *on.values, "--set", sets, "--timeout", "60s")
        until(is_told, TOLD_S + READY_S, f"words like {fault.words!r}")
        assert "hush" not in said[0], f"expected no password, was {said[0]}"
        after = fault.then(on)
    finally:
        on.uninstall(*fault.uninstall)
    return " | ".join(filter(None, (said[0][:300], after)))


def with_helm(on: Run, verb: str, *arguments: str) -> None:
    """Run Helm where it may well fail: a hook that fails is what is looked at."""
    try:
        on.helm(verb, RELEASE, *arguments)
    except AssertionError as e:
        if not re.search("hook|timed out|[Jj]ob ", str(e)):
            raise


def main() -> int:
    """Prove each; 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="names of faults; all where none is given")
    parser.add_argument("--namespace", default="tapewatch-faults")
    given = parser.parse_args()
    on = Run(given.namespace, ["-f", str(CHART / "ci" / "kind-values.yaml")])
    began = time.monotonic()
    with on.space():
        on.kubectl("run", THEIRS, "--image=postgres:15", "--port=5432", "--expose", f"--overrides={THEIRS_SPEC}")
        on.kubectl("run", VENDOR, "--image=tapewatch:0.1.0", f"--labels=vendor={VENDOR}", f"--overrides={VENDOR_SPEC}")
        on.kubectl("create", "service", "clusterip", VENDOR, "--tcp=8080:8080", "--tcp=8765:8765")
        on.kubectl("set", "selector", "service", VENDOR, f"vendor={VENDOR}")
        until(lambda: sql(on, "SELECT 1") == "1", 60, "a database")
        sql(on, "CREATE ROLE reader LOGIN PASSWORD 'hush'")
        for fault in faults():
            if not given.only or fault.name in given.only:
                on.check(fault.name, partial(prove, on, fault))
    return on.end(began)


if __name__ == "__main__":
    sys.exit(main())
