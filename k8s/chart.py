"""Write what the chart's values say twice: `values.schema.json` and the table of its README.

`python k8s/chart.py` writes both from `values.yaml` (its values give the types, its `# --` comments the text) and
from the schema of the config file, which `settings` holds one to one.
"""

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "tapewatch"
CONFIG = ROOT / "ray_apps" / "config.schema.json"

TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
QUANTITY = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)(m|[kMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$"
QUANTITIES = {
    "type": "object",
    "additionalProperties": {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": QUANTITY}]},
}
FREE: dict[str, Any] = {
    "commonLabels": {"type": "object"},
    "podAnnotations": {"type": "object"},
    "labels": {"type": "object"},
    "nodeSelector": TEXTS,
    "annotations": TEXTS,
    "requests": QUANTITIES,
    "limits": QUANTITIES,
}
"""Mappings of the user's or of Kubernetes' own keys; the chart makes texts of the first three."""
CHOICES: dict[str, list[Any]] = {
    "upgradeStrategy": ["NewCluster", "None"],
    "pullPolicy": ["IfNotPresent", "Always", "Never"],
    "accessMode": ["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"],
    "type": ["ClusterIP", "NodePort", "LoadBalancer"],
}
TIERS = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        name: {"enum": ["basic", "starter", "developer", "advanced"]}
        for name in ("stocks", "crypto", "forex", "indices", "options", "futures")
    },
}


def _listed(*keys: str) -> dict[str, Any]:
    """Give the schema of a list of objects of Kubernetes with some of these keys."""
    item = {
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "properties": {key: {} for key in keys},
    }
    return {"type": "array", "items": item}


PEERS = _listed("podSelector", "namespaceSelector", "ipBlock")
PORT = {"type": "integer", "minimum": 1, "maximum": 65_535}
PORTS = {"type": "array", "minItems": 1, "items": PORT}
SPECIAL: dict[str, Any] = {
    "tiers": TIERS, "tolerations": _listed("key", "operator", "value", "effect", "tolerationSeconds"),
    "gatewayFrom": PEERS, "prometheusFrom": PEERS, "sourcesFrom": PEERS, "apiServerTo": PEERS,
    "operatorFrom": {**PEERS, "minItems": 1},
    "extraEgress": _listed("to", "ports"),
    "port": PORT, "databasePort": PORT, "redisPort": PORT, "apiServerPorts": PORTS, "dnsPorts": PORTS,
    "pullSecrets": {"type": "array", "items": {"type": "string", "minLength": 1}},
    "assets": {"type": "array", "items": {"$ref": "#/$defs/AssetClass"}},
}  # fmt: skip
OBJECT_STORE = 78_643_200
"""Bytes: Ray starts no node with a smaller one."""
BOUNDS = {
    **dict.fromkeys(("uid", "maxReplicas", "waitSeconds", "timeoutSeconds", "targetOngoingRequests"), 1),
    "objectStoreBytes": OBJECT_STORE,
}
"""Least whole numbers; 0 where nothing is said."""
SOURCES = ["polygon", "synthetic", "push"]
"""What a pod can watch: it has no folder of bars."""
ITEM = ["name", "replicas", "resources"]
"""What an item of a list has to say."""
README_HEAD = """# tapewatch

One RayService with what it stands on. Needs Kubernetes 1.29 and the KubeRay operator 1.6:

```
helm repo add kuberay https://ray-project.github.io/kuberay-helm/
helm install kuberay-operator kuberay/kuberay-operator --version 1.6.1 -n kuberay --create-namespace
helm install tapewatch charts/tapewatch -n tapewatch --create-namespace -f charts/tapewatch/ci/kind-values.yaml
helm test tapewatch -n tapewatch
```

`settings` holds the keys of the config file one to one and is checked by the same schema. Addresses and secrets come
by `existingSecret`. Value files for common cases are under `ci/`. Log lines are JSON on stdout, those of Ray's workers
too; `k8s/loki` holds an example that brings them to a Loki.

- **Upgrades.** What a running system takes over of `settings` restarts nothing. A changed `replicas` reaches the
  running cluster by a job after the upgrade; workers that market hours closed stay so until they open. Any other change
  of the Ray pods makes a second cluster beside the first (`ray.upgradeStrategy`), whose streaming workers start on the
  node of a ReadWriteOnce volume: it needs room for both. Another content of a Secret of yours is read by new pods only:
  change one of `podAnnotations` with it.
- **Volumes.** Kubernetes changes neither the access mode or class of a claim nor a claim template of a StatefulSet, so
  an upgrade that would is refused with the way out: delete the claim of the checkpoints (a start then folds the last
  days from the database); for a bundled server patch its claim to the new size and delete the StatefulSet with
  `--cascade=orphan`, which the upgrade makes again around the running pod.
- **Rollbacks** go over settings and images of one schema of the database; an older schema is not brought back.
- **Market hours** (`marketHours`) close the groups that stream. Give what serves a group of its own, as
  `ci/market-hours-values.yaml` does: in a group that does both the API is away as long. A first install, and an upgrade
  that makes a second cluster, open the workers whatever the hour, for only a supervisor that runs can take over. They
  run until the next `close`, or until `kubectl create job close-$(date +%s) --from=cronjob/tapewatch-hours-close`.
  Turned off while they are closed, the upgrade opens them.
- **Without a second cluster** (`ray.upgradeStrategy: None`) the Ray pods stay as they are, their image too, whatever an
  upgrade says of them; jobs and servers change. `kubectl delete raycluster -l ray.io/originated-from-cr-name=tapewatch`
  brings the new ones; bars stand meanwhile, and what was missed is asked for.
- **Uninstalls** end the Ray clusters first, by a job of the serving image: workers drain within their grace. Helm gives
  that five minutes; with a grace above 200 s add `--timeout`, the grace and two minutes. Where the image cannot be
  pulled, Helm stops a minute and a half after the grace: `helm uninstall tapewatch -n tapewatch --no-hooks` goes on,
  and KubeRay gives the clusters up five minutes later. The volumes of the bundled servers stay.
- **Rules and boards** belong to one release for each Prometheus and Grafana: a second one's rules would be evaluated
  beside the first's, and its boards have the same uids.
- **GitOps** (Argo CD, `helm template | kubectl apply`): a render without a cluster cannot see the
  secrets the chart made before and makes new ones each time. Give all of them: `api.existingSecret`,
  `postgresql.existingSecret` and `redis.existingSecret`, with the bundled servers too (and no bundled Grafana). Tell it
  the APIs it renders for: `--api-versions ray.io/v1 --api-versions monitoring.coreos.com/v1`.

This table is made by `python k8s/chart.py`.

| value | default | what it is |
|---|---|---|
"""


def schema() -> dict[str, Any]:
    """Give the schema of the values."""
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    config = json.loads(CONFIG.read_text("utf-8"))
    made = _schema("", {k: v for k, v in values.items() if k != "settings"})
    settings = {k: v for k, v in config.items() if k not in ("$schema", "$id", "$defs", "title")}
    settings["properties"] = {**settings["properties"], "source": {"enum": SOURCES}}
    made["properties"]["settings"] = {**settings, "required": ["assets"]}
    made["required"].append("settings")
    made["properties"]["global"] = {"type": "object"}  # Helm passes it to every chart
    return {"$schema": "https://json-schema.org/draft-07/schema#", **made, "$defs": config["$defs"]}


def _schema(name: str, value: Any) -> dict[str, Any]:
    """Give the schema of a value; what a null took away is missing, for templates read it."""
    if name in SPECIAL:
        return dict(SPECIAL[name])
    if name in CHOICES:
        return {"enum": CHOICES[name]}
    if isinstance(value, dict):
        if name in FREE:
            return dict(FREE[name])
        return {
            "type": "object", "additionalProperties": False,
            "properties": {key: _schema(key, inner) for key, inner in value.items()},
            "required": [key for key in value if key not in ("requests", "limits")],
        }  # fmt: skip
    if isinstance(value, list):
        merged = {k: v for item in value for k, v in item.items()}
        return {"type": "array", "minItems": 1, "items": {**_schema("", merged), "required": ITEM}}
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int):
        return {"type": "integer", "minimum": BOUNDS.get(name, 0)}
    return {"type": "string"}


def readme() -> str:
    """Give the README: each value with a comment, its default and the comment."""
    rows: list[str] = []
    path: list[str] = []
    said = ""
    for line in (CHART / "values.yaml").read_text("utf-8").splitlines():
        if comment := re.fullmatch(r"\s*# (?:-- )?(.*)", line):
            said = comment[1] if "# -- " in line else f"{said} {comment[1]}".strip()
            continue
        if found := re.fullmatch(r"( *)(?:- )?([A-Za-z]+):(?: (.*))?", line):
            depth = (len(line) - len(line.lstrip(" -"))) // 2
            path += ["[]"] * (depth - len(path))
            path[depth:] = [found[2]]
            if said:
                rows.append(
                    f"| `{'.'.join(path).replace('.[]', '[]')}` | {f'`{found[3]}`' if found[3] else ''} | {said} |"
                )
        said = ""
    return README_HEAD + "\n".join(rows) + "\n"


def main() -> None:
    """Write both."""
    (CHART / "values.schema.json").write_text(json.dumps(schema(), indent=1) + "\n", "utf-8")
    (CHART / "README.md").write_text(readme(), "utf-8")


if __name__ == "__main__":
    main()
