"""Errors that a person can mend: the command line shows them as one line, without a traceback."""


class UserError(Exception):
    """Something outside the program is not as it must be; says what was expected and what to do."""

    exit_code = 1


class UsageError(UserError):
    """The command, a variable or the config file is written wrongly."""

    exit_code = 2
