"""Name the errors of an import by what the caller does about them."""

from ray_apps.errors import UserError
from ray_apps.store.files import FileError


class PlaceError(UserError):
    """What was named cannot be listed or opened: a folder that is absent, a bucket that refuses."""


class QuestionError(FileError):
    """A file that can be read in more than one way: the message names the option that says which.

    Attributes
    ----------
    pair
        FILE=NAME as `--symbol` takes it, where that is the question and the file's name has the answer.
    """

    def __init__(self, message: str, pair: str = "") -> None:
        super().__init__(message)
        self.pair = pair
