"""Watch the config file: take over what is safe, say in one line what needs a restart."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ray_apps.settings import ConfigError, Settings, config_path, diff, taken_over


@dataclass(frozen=True, slots=True)
class Change:
    """A config file read again: the settings to use from now on, and what to say."""

    settings: Settings
    lines: tuple[str, ...]
    needs_restart: bool = False


def change_of(old: Settings, new: Settings) -> Change | None:
    """Give what of the new settings may hold at once, and what to say; None where nothing changed."""
    safe, restart = diff(old, new)
    lines = [f"config: now in force: {', '.join(safe)}"] if safe else []
    lines += [f"config: needs a restart: {', '.join(restart)}"] if restart else []
    return Change(taken_over(old, new), tuple(lines), bool(restart)) if lines else None


class ConfigWatch:
    """Notices a changed file by its time and size; a wrong file changes nothing.

    Parameters
    ----------
    settings
        What is in force.
    load
        Reads the settings again as the process did at its start, flags and environment included.
    config
        The file asked for; None: the usual places.
    """

    def __init__(self, settings: Settings, load: Callable[[], Settings], config: Path | None) -> None:
        self.settings = settings
        self._load = load
        self._config = config
        self._mark = self._stat()

    def look(self) -> Change | None:
        """Give what changed since the last look, None where nothing did."""
        mark = self._stat()
        if mark == self._mark:
            return None
        self._mark = mark
        try:
            new = self._load()
        except ConfigError as e:
            return Change(self.settings, tuple(f"config not taken over: {line}" for line in e.lines))
        change = change_of(self.settings, new)
        if change is not None:
            self.settings = change.settings
        return change

    def _stat(self) -> tuple[str, int, int] | None:
        path = config_path(self._config, self.settings.data_dir)
        try:
            found = path.stat() if path else None
        except OSError:
            return None
        return (str(path), found.st_mtime_ns, found.st_size) if found else None
