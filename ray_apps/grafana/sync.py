"""Bring a Grafana to what this project tells it: look first, say what differs, write only that."""

import difflib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from grafana_client import GrafanaApi
from grafana_client.client import GrafanaException

from ray_apps.grafana.boards import Json, Told

FOLDER_TITLE = "Tapewatch"
WRITTEN_ANEW = "  its password is written each time: Grafana does not say whether it has another\n"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing of Grafana, and what is to happen to it: create, update or same; `diff` says what differs."""

    what: str
    name: str
    action: str
    diff: str
    write: Callable[[], Any]


def plan(api: GrafanaApi, told: Told, sources: Sequence[Json], folder_uid: str) -> Iterator[Step]:
    """Give the steps in an order that can be followed: folder, data sources, boards, alert rules.

    Raises
    ------
    GrafanaException, requests.RequestException
        When Grafana does not answer as it should.
    """
    yield _folder(api, folder_uid)
    for source in sources:
        yield _source(api, source)
    for uid, board in told.boards.items():
        yield _board(api, uid, board, folder_uid)
    for name, group in told.groups.items():
        yield _group(api, name, group, folder_uid)


def _folder(api: GrafanaApi, uid: str) -> Step:
    """Give the folder's step: one that is there keeps its title, it may be someone's."""
    held = _held(lambda: api.folder.get_folder(uid))
    action = "create" if held is None else "same"
    title = FOLDER_TITLE if held is None else held["title"]
    return Step("folder", title, action, "", lambda: api.folder.create_folder(FOLDER_TITLE, uid))


def _source(api: GrafanaApi, source: Json) -> Step:
    """Give a data source's step; a secret, which Grafana never shows, may be another and is written each time."""
    held = _held(lambda: api.datasource.get_datasource_by_uid(source["uid"]))
    public = {k: v for k, v in source.items() if k != "secureJsonData"}
    step = _step("data source", source["name"], held, public,
                 lambda: api.datasource.create_datasource(source),
                 lambda: api.datasource.update_datasource_by_uid(source["uid"], source))  # fmt: skip
    if held is None or "secureJsonData" not in source:
        return step
    return replace(step, action="update", diff=step.diff + WRITTEN_ANEW)


def _board(api: GrafanaApi, uid: str, board: Json, folder_uid: str) -> Step:
    held = _held(lambda: api.dashboard.get_dashboard(uid))
    there = {**held["dashboard"], "folder": held["meta"].get("folderUid", "")} if held else None
    told = {k: v for k, v in board.items() if k != "version"}  # Grafana counts

    def write() -> Any:
        return api.dashboard.update_dashboard(
            {"dashboard": told, "folderUid": folder_uid, "overwrite": True, "message": "tapewatch grafana sync"}
        )

    return _step("board", board["title"], there, {**told, "folder": folder_uid}, write, write)


def _group(api: GrafanaApi, name: str, group: Json, folder_uid: str) -> Step:
    held = _held(lambda: api.alertingprovisioning.get_rule_group(folder_uid, name))

    def write() -> Any:
        return api.alertingprovisioning.update_rule_group(folder_uid, name, group, disable_provenance=True)

    return _step("alert rules", name, held, group, write, write)


def _held(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except GrafanaException as e:
        if e.status_code == 404:
            return None
        raise


def _step(what: str, name: str, held: Any, told: Any, create: Callable[[], Any], update: Callable[[], Any]) -> Step:
    if held is None:
        return Step(what, name, "create", "", create)
    was, now = _text(_same_keys(held, told)), _text(told)
    diff = "".join(difflib.unified_diff(was, now, "in Grafana", "here", n=1))
    return Step(what, name, "update" if diff else "same", diff, update)


def _text(value: Any) -> list[str]:
    return [line + "\n" for line in json.dumps(value, indent=1, sort_keys=True).splitlines()]


def _same_keys(held: Any, told: Any) -> Any:
    """Give what is held, without the keys nobody here speaks of: defaults that Grafana filled in."""
    if isinstance(held, Mapping) and isinstance(told, Mapping):
        return {k: _same_keys(v, told[k]) for k, v in held.items() if k in told}
    if isinstance(held, list) and isinstance(told, list):
        paired = [_same_keys(h, t) for h, t in zip(held, told, strict=False)]
        return paired + held[len(told) :]
    return held
