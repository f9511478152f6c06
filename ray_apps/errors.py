"""Errors that a person can mend: the command line shows them as one line, without a traceback."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

F = TypeVar("F", bound=Mapping[str, Any])
_POLITE = re.compile(r"^(Value error, )?(Input|Value|String|Tuple|Dictionary|List)? ?(should )?(be )?(expected )?")
"""What pydantic says before the expectation itself."""
_PLAIN = {"missing": "a value", "timezone_aware": "a time zone, as in 2026-01-02T09:30Z"}
"""What it says as no expectation at all, by its name of the fault."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class UserError(Exception):
    """Something outside the program is not as it must be; says what was expected and what to do."""

    exit_code = 1


class UsageError(UserError):
    """The command, a variable or the config file is written wrongly."""

    exit_code = 2


def expectation(kind: str, said: str) -> str:
    """Give what was expected, of a fault pydantic names `kind` and says as `said`.

    >>> expectation("less_than_equal", "Input should be less than or equal to 9")
    'less than or equal to 9'
    >>> expectation("string_pattern_mismatch", "String should match pattern '^a$'")
    "text that matches '^a$'"
    """
    plain = _POLITE.sub("", said).partition(", unable to")[0].partition(" after validation")[0]
    return _PLAIN.get(kind, plain.replace("match pattern", "text that matches"))


def primary(faults: Sequence[F]) -> list[F]:
    """Leave out that a list is too short where an item of it is at fault: pydantic counts only those that are right.

    >>> [f["type"] for f in primary([{"loc": ("a", 0), "type": "enum"}, {"loc": ("a",), "type": "too_short"}])]
    ['enum']
    """
    above = {tuple(f["loc"])[:-1] for f in faults}
    return [f for f in faults if f["type"] != "too_short" or tuple(f["loc"]) not in above]


def likely(word: str, known: Iterable[str], none: str) -> str:
    """Give the known word that was most likely meant, else all of them, or `none` where there are none.

    >>> [likely(word, ["kind", "min_severity"], "no key") for word in ("severity", "x")], likely("x", [], "no key")
    (['min_severity', 'one of kind, min_severity'], 'no key')
    """
    words = sorted(known)
    close = difflib.get_close_matches(word, words, 1, 0.75)
    return close[0] if close else f"one of {', '.join(words)}" if words else none


def gist(e: BaseException) -> str:
    r"""Give the last line of what an error says, without colours: Ray puts a traceback before it.

    >>> gist(RuntimeError("\x1b[36mray::work\x1b[39m\nOSError: no room\n")), gist(OSError())
    ('OSError: no room', 'OSError')
    """
    lines = _COLOUR.sub("", str(e)).strip().splitlines()
    return lines[-1].strip() if lines else type(e).__name__


def causes(e: BaseException) -> list[str]:
    """Give the innermost errors of groups, each as one line.

    >>> causes(ExceptionGroup("several", [ValueError("one"), OSError()]))
    ['ValueError: one', 'OSError']
    """
    if isinstance(e, BaseExceptionGroup):
        return [text for inner in e.exceptions for text in causes(inner)]
    return [f"{type(e).__name__}: {e}" if str(e) else type(e).__name__]
