"""What Kubernetes does not change in place is refused before the upgrade, with the way out."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.deploy.helm import template

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
KINDS = {
    "/api/v1": {"secrets": "Secret", "persistentvolumeclaims": "PersistentVolumeClaim"},
    "/apis/apps/v1": {"statefulsets": "StatefulSet"},
}


def volume(mode: str, size: str, storage_class: str | None) -> dict[str, Any]:
    made = {"accessModes": [mode], "resources": {"requests": {"storage": size}}}
    return made | ({"storageClassName": storage_class} if storage_class else {})


def server(name: str, size: str, storage_class: str | None = None) -> tuple[str, dict[str, Any]]:
    spec = {"volumeClaimTemplates": [{"spec": volume("ReadWriteOnce", size, storage_class)}]}
    at = f"/apis/apps/v1/namespaces/markets/statefulsets/tw-tapewatch-{name}"
    return at, {"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": spec}


CLAIM = "/api/v1/namespaces/markets/persistentvolumeclaims/tw-tapewatch-checkpoints"
LIVE = {
    CLAIM: {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": volume("ReadWriteOnce", "5Gi", "standard")},
    **dict([server("postgresql", "30Gi"), server("redis", "1024Mi", "fast")]),
}
"""What runs: the chart's own values but for the class of Redis."""
SAME = "redis.storageClass=fast"


@contextmanager
def api_server() -> Iterator[str]:
    """Give the address of a server that knows what is live and nothing else."""
    groups = {k: {"groupVersion": k.removeprefix("/api/").removeprefix("/apis/")} for k in KINDS}
    resources = {
        path: groups[path] | {"resources": [{"name": n, "namespaced": True, "kind": k} for n, k in kinds.items()]}
        for path, kinds in KINDS.items()
    }
    known: dict[str, Any] = {"/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}, **resources, **LIVE}

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = known.get(self.path.partition("?")[0])
            body = json.dumps(found or {"kind": "Status", "reason": "NotFound", "code": 404}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def upgraded(*sets: str) -> subprocess.CompletedProcess[str]:
    with api_server() as address:
        on = ("--dry-run=server", "--kube-apiserver", address, "--kubeconfig", "/dev/null")
        return template(*on, *(f"--set={s}" for s in sets))


@pytest.mark.parametrize(
    ("change", "said", "way_out"),
    [
        (["persistence.accessMode=ReadWriteMany"], "accessMode: expected ReadWriteOnce as it is", "delete pvc"),
        (["persistence.storageClass=fast"], "persistence.storageClass: expected standard as it is", "delete pvc"),
        (["persistence.size=4Gi"], "persistence.size: expected 5Gi as it is", "component=worker"),
        (["postgresql.size=40Gi"], "postgresql.size: expected 30Gi as it is", "patch pvc data-tw-tapewatch-post"),
        (
            ["postgresql.size=2Gi"],
            "postgresql.size: expected 30Gi as it is",
            "delete pvc data-tw-tapewatch-postgresql-0",
        ),
        (["postgresql.storageClass=fast"], "expected none as it is", "Keep it; or, for a new volume"),
        (["redis.storageClass="], "redis.storageClass: expected fast as it is", "delete pvc data-tw-tapewatch-redis-0"),
    ],
)
def test_a_change_of_a_volume_says_the_way_out(change: list[str], said: str, way_out: str) -> None:
    done = upgraded(SAME, *change)
    assert done.returncode != 0
    assert said in done.stderr
    assert way_out in done.stderr
    assert ("patch pvc" in done.stderr) == ("40Gi" in change[0])  # a claim never shrinks


def test_what_kubernetes_takes_is_not_refused() -> None:
    for sets in ([], ["persistence.size=8Gi"], ["postgresql.size=30720Mi"], ["persistence.storageClass=standard"]):
        done = upgraded(SAME, *sets)
        assert done.returncode == 0, (sets, done.stderr)
