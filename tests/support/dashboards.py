"""Do what Grafana does to a panel's query before it is sent: put in variables, macros and the time span."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Substitution:
    """The values chosen, and the span shown in Unix seconds.

    A string is what a variable has for all its values: it is put in as it is.

    `rate` and `range` are the spans PromQL looks back over.
    """

    chosen: Mapping[str, list[str] | str]
    start: float
    end: float
    rate: str = "30s"
    range: str = "2m"

    def promql(self, text: str) -> str:
        return self._variables(text).replace("$__rate_interval", self.rate).replace("$__range", self.range)

    def sql(self, text: str) -> str:
        text = re.sub(r"\$__timeFilter\(([^()]+)\)", self._between, self._variables(text))
        return re.sub(r"\$__timeGroupAlias\(([^,()]+),\s*'(\d+)([smh])'\)", _bucket, text)

    def _between(self, match: re.Match[str]) -> str:
        start, end = (datetime.fromtimestamp(s, UTC).isoformat() for s in (self.start, self.end))
        return f"{match[1]} BETWEEN '{start}' AND '{end}'"

    def _variables(self, text: str) -> str:
        return re.sub(r"\$\{(\w+)(?::(\w+))?\}", self._value, text)

    def _value(self, match: re.Match[str]) -> str:
        values = self.chosen[match[1]]
        if isinstance(values, str):
            return values
        if match[2] == "sqlstring":
            return ",".join("'" + v.replace("'", "''") + "'" for v in values)
        if match[2] == "regex":
            return f"({'|'.join(re.escape(v) for v in values)})"
        (value,) = values
        return value


def _bucket(match: re.Match[str]) -> str:
    width = int(match[2]) * UNITS[match[3]]
    return f'floor(extract(epoch FROM {match[1]}) / {width}) * {width} AS "time"'
