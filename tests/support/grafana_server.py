"""A small Grafana: the parts of its HTTP API that are used here, in memory, on a free port of 127.0.0.1."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "glsa_of_a_test"
Answer = tuple[int, Any]


class RefusedError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.answer: Answer = (status, {"message": message})


@dataclass
class FakeGrafana:
    """What it holds, and the writes it was sent; `failing` is the status it answers every request with."""

    url: str = ""
    failing: int = 0
    folders: dict[str, dict[str, Any]] = field(default_factory=dict)
    datasources: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    boards: dict[str, dict[str, Any]] = field(default_factory=dict)
    rules: dict[str, dict[str, Any]] = field(default_factory=dict)
    annotations: dict[int, dict[str, Any]] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)

    def answer(self, method: str, target: str, body: Any, token: str) -> Answer:
        """Answer one request."""
        if self.failing:
            return self.failing, {"message": "as told"}
        parts = urlsplit(target)
        path = parts.path.removeprefix("/api").strip("/").split("/")
        if path[0] != "health" and token != f"Bearer {TOKEN}":
            return 401, {"message": "Unauthorized"}
        if method != "GET":
            self.writes.append(f"{method} {parts.path}")
        route = {
            "health": self._health, "folders": self._folders, "datasources": self._datasources,
            "dashboards": self._boards, "annotations": self._annotations, "v1": self._rules,
        }.get(path[0])  # fmt: skip
        if route is None:
            return 404, {"message": f"no route {target}"}
        try:
            return route(method, path, body, parse_qs(parts.query))
        except RefusedError as e:
            return e.answer

    def _health(self, *_: Any) -> Answer:
        return 200, {"version": "12.0.0", "database": "ok"}

    def _folders(self, method: str, path: list[str], body: Any, _query: Any) -> Answer:
        if method == "POST":
            self.folders[body["uid"]] = {"uid": body["uid"], "title": body["title"], "version": 1}
            return 200, self.folders[body["uid"]]
        return 200, _found(self.folders, path[1], "folder not found")

    def _datasources(self, method: str, path: list[str], body: Any, _query: Any) -> Answer:
        if method == "POST":
            if body["name"] in {d["name"] for d in self.datasources.values()}:
                raise RefusedError(409, "data source with the same name already exists")
            self.datasources[body["uid"]] = self._source(body)
            return 200, {"datasource": self.datasources[body["uid"]]}
        held = _found(self.datasources, path[2], "Data source not found")
        if method == "PUT":
            self.datasources[path[2]] = self._source(body)
            return 200, {"datasource": self.datasources[path[2]]}
        return 200, held

    def _source(self, body: dict[str, Any]) -> dict[str, Any]:
        """A secret is taken and never shown, one that is not sent is kept; defaults are filled in."""
        secrets = self.secrets.setdefault(body["uid"], {})
        secrets |= body.get("secureJsonData", {})
        kept = {k: v for k, v in body.items() if k != "secureJsonData"}
        return {"id": 1, "orgId": 1, "version": 1, **kept, "secureJsonFields": dict.fromkeys(secrets, True)}

    def _boards(self, method: str, path: list[str], body: Any, _query: Any) -> Answer:
        if method == "GET":
            return 200, _found(self.boards, path[2], "Dashboard not found")
        board = dict(body["dashboard"])
        _found(self.folders, body["folderUid"], "folder not found")
        held = self.boards.get(board["uid"])
        if held is not None and not body.get("overwrite"):
            raise RefusedError(412, "The dashboard has been changed by someone else")
        version = held["dashboard"]["version"] + 1 if held else 1
        board |= {"version": version, "id": 7}
        self.boards[board["uid"]] = {"dashboard": board, "meta": {"folderUid": body["folderUid"]}}
        return 200, {"uid": board["uid"], "version": version, "status": "success"}

    def _rules(self, method: str, path: list[str], body: Any, _query: Any) -> Answer:
        if path[2] == "folder":
            return self._rule_group(method, path[3], path[5], body)
        return 404, {"message": "no such route"}

    def _rule_group(self, method: str, folder: str, group: str, body: Any) -> Answer:
        key = f"{folder}/{group}"
        if method == "GET":
            return 200, _found(self.rules, key, "rule group does not exist")
        _found(self.folders, folder, "folder does not exist")
        for rule in body["rules"]:
            for query in rule["data"]:
                if query["datasourceUid"] not in (*self.datasources, "__expr__"):
                    raise RefusedError(400, f"unknown data source {query['datasourceUid']}")
        rules = [{**r, "id": i, "updated": "now", "provenance": "", "orgID": 1} for i, r in enumerate(body["rules"])]
        self.rules[key] = {**body, "rules": rules}
        return 200, self.rules[key]

    def _annotations(self, method: str, path: list[str], body: Any, query: dict[str, list[str]]) -> Answer:
        if method == "POST":
            number = max(self.annotations, default=0) + 1
            self.annotations[number] = {"id": number, **body}
            return 200, {"id": number, "message": "Annotation added"}
        if method == "GET":
            return 200, self._find(query)
        held = _found(self.annotations, int(path[1]), "Annotation not found")
        if method == "DELETE":
            del self.annotations[held["id"]]
        else:
            held |= body
        return 200, {"message": "done"}

    def _find(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        """As many tags that match as are asked for, or any; the newest first."""
        start, end = (int(query.get(name, ["0"])[0]) for name in ("from", "to"))
        asked, most = _pairs(query.get("tags", [])), int(query.get("limit", ["100"])[0])
        is_any = query.get("matchAny") == ["true"]

        def is_found(note: dict[str, Any]) -> bool:
            if start > 0 and end > 0 and not start <= note["time"] <= end:
                return False
            n = sum(any(key == k and value in ("", v) for key, value in asked) for k, v in _pairs(note["tags"]))
            return not asked or (n > 0 if is_any else n == len(asked))

        return sorted(filter(is_found, self.annotations.values()), key=lambda a: -a["time"])[:most]


def _pairs(tags: list[str]) -> set[tuple[str, str]]:
    """Give the keys and values that tags are to Grafana."""
    return {(key.strip(), rest.split(":")[0].strip()) for key, _, rest in (tag.partition(":") for tag in tags)}


def _found(held: dict[Any, Any], key: Any, message: str) -> Any:
    if key not in held:
        raise RefusedError(404, message)
    return held[key]


@contextmanager
def grafana_server() -> Iterator[FakeGrafana]:
    """Serve until the block ends."""
    state = FakeGrafana()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            with lock:
                status, said = state.answer(self.command, self.path, body, self.headers.get("Authorization", ""))
                data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = _serve

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join(5)
