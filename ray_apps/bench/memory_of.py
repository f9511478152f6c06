"""Read how much memory the actors of this process's Ray hold."""

import os
import subprocess

ACTORS = ("ShardActor", "FeedActor", "DeskActor", "SinkActor")


def actor_bytes() -> dict[str, int]:
    """Give the resident bytes of each kind of actor below this process."""
    listed = subprocess.run(
        ["ps", "-axo", "pid=,ppid=,rss=,command="],  # noqa: S607 (wherever the system keeps it)
        capture_output=True, text=True, check=True, timeout=10,
    ).stdout  # fmt: skip
    rows = [line.split(None, 3) for line in listed.splitlines()]
    parents = {int(pid): int(parent) for pid, parent, *_ in rows}
    found = dict.fromkeys(ACTORS, 0)
    for pid, _, kib, command in (r for r in rows if len(r) == 4):
        name = command.removeprefix("ray::").split(".")[0].split(" ")[0]
        if command.startswith("ray::") and name in found and _is_ours(int(pid), parents):
            found[name] += int(kib) * 1024
    return found


def _is_ours(pid: int, parents: dict[int, int]) -> bool:
    while pid in parents and pid != os.getpid():
        pid = parents[pid]
    return pid == os.getpid()
