"""`tapewatch drain`: end what streams on this node of a cluster, in order."""

from __future__ import annotations

from typing import Annotated

import typer


def drain(
    within: Annotated[
        float, typer.Option(min=20, help="Seconds it may take: less than the pod's terminationGracePeriodSeconds.")
    ] = 150.0,
) -> None:
    """Stop the feeds and write the checkpoints of this node's shards; a pod of the chart calls it before it ends.

    Example: tapewatch drain --within 150
    """
    from ray_apps.cluster import drain as run

    for name in run(within):
        typer.echo(f"drained {name}")
