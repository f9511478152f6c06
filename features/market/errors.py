"""Name what is wrong with the venue's data; the caller counts it and goes on."""


class DataError(ValueError):
    """Say why some data cannot be used; `reason` is the word it is counted by.

    >>> DataError("wrong_type", "expected a number in o, was a string").reason
    'wrong_type'
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
