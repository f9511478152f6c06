"""Errors that a person can mend: the command line shows them as one line, without a traceback."""


class UserError(Exception):
    """Something outside the program is not as it must be; says what was expected and what to do."""

    exit_code = 1


class UsageError(UserError):
    """The command, a variable or the config file is written wrongly."""

    exit_code = 2


def causes(e: BaseException) -> list[str]:
    """Give the innermost errors of groups, each as one line.

    >>> causes(ExceptionGroup("several", [ValueError("one"), OSError()]))
    ['ValueError: one', 'OSError']
    """
    if isinstance(e, BaseExceptionGroup):
        return [text for inner in e.exceptions for text in causes(inner)]
    return [f"{type(e).__name__}: {e}" if str(e) else type(e).__name__]
