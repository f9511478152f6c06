"""The commands of the offline side, which `tapewatch` mounts; heavy libraries load when a command runs."""

import typer

from training.commands import replay, train

app = typer.Typer(rich_markup_mode=None)
app.command()(replay.replay)
app.add_typer(train.app, name="train")
