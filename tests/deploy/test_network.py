"""What the NetworkPolicies let through: what the system needs, and no more."""

from pathlib import Path
from typing import Any

import pytest

from tests.deploy.helm import CHART, VALUES, named, pods, rendered

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
HA, KIND, MINIMAL = (CHART / "ci" / f"{name}-values.yaml" for name in ("ha", "kind", "minimal"))
RESTRICTED = CHART / "ci" / "netpol-restricted-values.yaml"
BACKFILL = ("backfill.schedule=0 6 * * 1-5", "vendor.existingSecret=polygon")


class Policy:
    """What a NetworkPolicy of the Ray pods lets through."""

    def __init__(self, objects: list[dict[str, Any]], name: str = "tw-tapewatch-ray") -> None:
        self.spec = named(objects, "NetworkPolicy", name)["spec"]

    def lets_in(self, component: str, port: int) -> bool:
        def is_meant(peer: dict[str, Any]) -> bool:
            chosen = peer.get("podSelector", {})
            components = [v for e in chosen.get("matchExpressions", []) for v in e["values"]]
            return "namespaceSelector" not in peer and component in components

        rules = [r for r in self.spec["ingress"] if "ports" not in r or {"port": port} in r["ports"]]
        return any(is_meant(peer) for r in rules for peer in r["from"])

    def way_out(self, port: int) -> list[Any]:
        """Give where a port leads; an empty mapping is anywhere."""
        return [r.get("to", {}) for r in self.spec["egress"] if {"port": port} in r.get("ports", [])]


@pytest.mark.parametrize("values", [v for v in VALUES if v != HA], ids=lambda p: p.stem)
def test_who_is_named_does_not_shut_out_the_releases_own(values: Path) -> None:
    policy = Policy(rendered(values))
    for component, port in (("test", 8000), ("test", 9101), ("prometheus", 9101), ("prometheus", 8080)):
        assert policy.lets_in(component, port), (component, port)
    assert not policy.lets_in("simulator", 8000)


def test_servers_of_yours_are_reached_on_their_ports() -> None:
    objects = rendered(HA, "networkPolicy.databasePort=6432", "networkPolicy.redisPort=6380", "redis.gcsAddress=r:6381")
    for port in (6432, 6380, 6381):
        assert Policy(objects).way_out(port) == [{}], port
    assert not Policy(objects).way_out(5432)
    assert Policy(objects, "tw-tapewatch-within").way_out(6432) == [{}]
    (outside,) = [to for to in Policy(rendered(MINIMAL)).way_out(443) if to]
    assert {peer["ipBlock"]["cidr"] for peer in outside} == {"0.0.0.0/0", "::/0"}


def test_ways_out_of_yours_are_open() -> None:
    more = "networkPolicy.extraEgress[0].to[0].namespaceSelector.matchLabels.team=alerts"
    for name in ("tw-tapewatch-ray", "tw-tapewatch-within"):
        rules = named(rendered(RESTRICTED, more), "NetworkPolicy", name)["spec"]["egress"]
        assert {"to": [{"namespaceSelector": {"matchLabels": {"team": "alerts"}}}]} in rules


def ports(rules: list[dict[str, Any]]) -> list[list[int]]:
    return [[p["port"] for p in rule.get("ports", [])] for rule in rules]


def test_the_api_server_is_reached_wherever_it_listens() -> None:
    plain = [443, 6443, 8443, 16443]
    for sets, said in (((), plain), (("networkPolicy.apiServerPorts={7443}",), [7443])):
        objects = rendered(HA, *sets)
        control = Policy(objects, "tw-tapewatch-control").spec
        assert ports(control["egress"]) == [said]
        assert control["podSelector"]["matchExpressions"][0]["values"] == ["retire", "workers", "head"]
        assert said not in ports(Policy(objects).spec["egress"])
    cidr = "networkPolicy.apiServerTo[0].ipBlock.cidr=10.0.0.1/32"
    (rule,) = Policy(rendered(RESTRICTED, cidr, "ray.autoscaling=true"), "tw-tapewatch-control").spec["egress"]
    assert rule["to"] == [{"ipBlock": {"cidr": "10.0.0.1/32"}}]
    assert "head" not in str(Policy(rendered(MINIMAL), "tw-tapewatch-control").spec)


def test_addresses_of_settings_are_reached_on_their_ports() -> None:
    sets = (
        "settings.sinks.grafana.url=http://grafana.watch:3000",
        "settings.sinks.webhook.url=http://hooks.example.org/in",
    )
    ours = rendered(MINIMAL, *sets, "sinks.existingSecret=s")
    assert [3000, 80] in ports(Policy(ours).spec["egress"])
    vendor = (*BACKFILL, "settings.polygon.rest_url=http://replay.markets:8080", "settings.polygon.ws_host=replay:8765")
    objects = rendered(MINIMAL, *vendor)
    for name in ("tw-tapewatch-ray", "tw-tapewatch-backfill"):
        assert [8080, 8765] in ports(Policy(objects, name).spec["egress"]), name
    assert not Policy(rendered(MINIMAL, *vendor[2:])).way_out(8765)  # nobody asks there
    objects = rendered(MINIMAL, *BACKFILL, *sets, "sinks.existingSecret=s")
    assert not Policy(objects, "tw-tapewatch-backfill").way_out(3000)  # it tells nobody
    plain = (*BACKFILL, "settings.polygon.ws_host=replay", "settings.polygon.ws_secure=false")
    assert Policy(rendered(MINIMAL, *plain)).way_out(80) == [{}]
    query = ("settings.sinks.webhook.url=http://hooks:9000?x=1", "sinks.existingSecret=s")
    assert Policy(rendered(MINIMAL, *query)).way_out(9000) == [{}]


def test_the_operator_is_who_is_said() -> None:
    def asks(*sets: str) -> list[dict[str, Any]]:
        (rule,) = [r for r in Policy(rendered(MINIMAL, *sets)).spec["ingress"] if {"port": 8265} in r.get("ports", [])]
        return list(rule["from"])

    assert asks()[0]["podSelector"]["matchLabels"] == {"app.kubernetes.io/component": "kuberay-operator"}
    assert asks("networkPolicy.operatorFrom[0].podSelector.matchLabels.app=ray") == [
        {"podSelector": {"matchLabels": {"app": "ray"}}}
    ]


def test_names_are_resolved_where_the_dns_listens() -> None:
    (rule,) = Policy(rendered(MINIMAL, "networkPolicy.dnsPorts={53,5353}"), "tw-tapewatch-default").spec["egress"]
    assert {(p["port"], p["protocol"]) for p in rule["ports"]} == {
        (53, "UDP"), (53, "TCP"), (5353, "UDP"), (5353, "TCP"),
    }  # fmt: skip


def test_the_vendors_past_is_asked_by_the_backfill_alone() -> None:
    objects = rendered(MINIMAL, *BACKFILL)
    backfill = Policy(objects, "tw-tapewatch-backfill")
    assert backfill.spec["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "backfill"
    (outside,) = backfill.way_out(443)
    assert {peer["ipBlock"]["cidr"] for peer in outside} == {"0.0.0.0/0", "::/0"}
    assert not Policy(objects, "tw-tapewatch-within").way_out(443)
    assert any(name == "CronJob/tw-tapewatch-backfill-stocks" for name, _ in pods(objects))


def test_nothing_leaves_where_nothing_may() -> None:
    objects = rendered(RESTRICTED, *BACKFILL, "networkPolicy.extraEgress[0].ports[0].port=3128")
    policies = [o["spec"] for o in objects if o["kind"] == "NetworkPolicy"]
    assert "ipBlock" not in str(policies)
    assert Policy(objects, "tw-tapewatch-within").way_out(3128) == [{}]


def test_boards_elsewhere_ask_the_sources_where_they_are_let_in() -> None:
    assert "sources" not in str([o["metadata"]["name"] for o in rendered(KIND) if o["kind"] == "NetworkPolicy"])
    peer = "networkPolicy.sourcesFrom[0].namespaceSelector.matchLabels.team=watch"
    policy = Policy(rendered(KIND, peer), "tw-tapewatch-sources").spec
    (rule,) = policy["ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"team": "watch"}}}]
    assert [p["port"] for p in rule["ports"]] == [5432, 9090]
    assert policy["podSelector"]["matchExpressions"][0]["values"] == ["postgresql", "prometheus"]
