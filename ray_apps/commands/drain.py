"""`tapewatch drain`: end what streams on this node of a cluster, in order."""

from __future__ import annotations

import typer


def drain() -> None:
    """Stop the feeds and write the checkpoints of this node's shards; a pod of the chart calls it before it ends.

    Example: tapewatch drain
    """
    from ray_apps.cluster import drain as run

    for name in run():
        typer.echo(f"drained {name}")
