"""The example that brings log lines to a Loki: each line once, however many nodes there are."""

import yaml

from tests.deploy.helm import ROOT


def test_one_pod_reads_the_logs_of_every_node() -> None:
    values = yaml.safe_load((ROOT / "k8s" / "loki" / "alloy-values.yaml").read_text("utf-8"))
    assert "loki.source.kubernetes" in values["alloy"]["configMap"]["content"]  # from the API server, not a node's disk
    assert values["controller"] == {"type": "deployment", "replicas": 1}
