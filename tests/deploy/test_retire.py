"""Before an uninstall: the clusters go first, what is not there is no fault, and what is refused is said."""

import importlib.machinery
import importlib.util
from typing import Any

import httpx
import pytest

from tests.deploy.helm import CHART, ROOT, named, rendered

RAYS = "/apis/ray.io/v1/namespaces/markets"


def program() -> Any:
    loader = importlib.machinery.SourceFileLoader("retire", str(ROOT / "k8s" / "image" / "retire"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("retire", loader))
    loader.exec_module(module)
    module.LOOK_S = 0.0
    return module


class ApiServer:
    """Clusters that go some looks after their service is deleted; `status` is what it answers to a delete."""

    def __init__(self, status: int, looks: int) -> None:
        self.status = status
        self.looks = looks
        self.deleted: list[str] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            self.deleted.append(request.url.path)
            return httpx.Response(self.status)
        if request.url.path != f"{RAYS}/rayclusters":
            return httpx.Response(403)
        self.looks -= 1
        left = [{"metadata": {"name": "tw-tapewatch-x7"}}] if self.looks >= 0 else []
        return httpx.Response(200, json={"items": left})


def retire(api: ApiServer, namespace: str = "markets", seconds: float = 60) -> bool:
    with httpx.Client(base_url="https://api", transport=httpx.MockTransport(api.answer)) as client:
        return bool(program().main(client, namespace, "tw-tapewatch", seconds))


@pytest.mark.parametrize("status", [200, 404])
def test_it_waits_until_no_cluster_is_left(status: int) -> None:
    api = ApiServer(status, looks=3)
    assert retire(api)
    assert api.looks == -1
    assert api.deleted[-1] == f"{RAYS}/rayservices/tw-tapewatch"


def test_it_gives_up_in_time() -> None:
    assert not retire(ApiServer(200, looks=10**9), seconds=0)


@pytest.mark.parametrize(("status", "namespace"), [(403, "markets"), (200, "other")])
def test_a_refusal_is_no_success(status: int, namespace: str) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="403"):
        retire(ApiServer(status, looks=0), namespace)


@pytest.mark.integration
def test_it_may_delete_what_it_deletes() -> None:
    api = ApiServer(200, looks=0)
    retire(api)
    role = named(rendered(CHART / "ci" / "ha-values.yaml"), "Role", "tw-tapewatch-retire")
    deletes = {
        (r["resources"][0], n) for r in role["rules"] for n in r.get("resourceNames", []) if "delete" in r["verbs"]
    }
    asked = {tuple(path.rsplit("/", 2)[1:]) for path in api.deleted}
    assert asked == deletes
