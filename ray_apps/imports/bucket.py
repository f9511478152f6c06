"""Find and open files in a bucket that speaks S3, such as the vendor's flat files."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from ray_apps.imports.errors import PlaceError
from ray_apps.imports.place import S3, Place, is_bar_file
from ray_apps.store.files import FileError
from ray_apps.store.sieve import one_line

if TYPE_CHECKING:
    from s3fs import S3FileSystem

    from ray_apps.imports.config import S3Config

TIMEOUT_S = 20
TRIES = 4
AHEAD_BYTES = 4 << 20
"""Asked for at once, and all that is kept of a file."""


def find_in_bucket(address: str, config: "S3Config") -> list[Place]:
    """Give the files under a prefix, or that match a pattern.

    Raises
    ------
    PlaceError
        When the package is absent, or the bucket does not answer or refuses.
    """
    fs = _file_system(address, config)
    path = address.removeprefix(S3)
    with _said(PlaceError, address):
        is_pattern = any(c in path for c in "*?[")
        found: dict[str, dict[str, Any]] = fs.glob(path, detail=True) if is_pattern else fs.find(path, detail=True)
    folder = (path if not is_pattern else path[: path.find("*")]).rpartition("/")[0]
    base = path.rstrip("/") if not is_pattern and path not in found else folder
    files = sorted(p for p, info in found.items() if info["type"] == "file" and is_bar_file(p))
    return [_place(fs, p, p.removeprefix(base).lstrip("/"), found[p]) for p in files]


def _place(fs: "S3FileSystem", path: str, name: str, info: dict[str, Any]) -> Place:
    n_bytes = int(info["size"])
    mark = f"{n_bytes}:{str(info.get('ETag', '')).strip(chr(34))}"

    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        with _said(FileError, name):
            file = fs.open(path, "rb", block_size=AHEAD_BYTES, cache_type="readahead", size=n_bytes)
        with file, io.BufferedReader(_Remote(file), 1 << 16) as stream:
            yield stream

    return Place(S3 + path, name, n_bytes, mark, opened)


class _Remote(io.RawIOBase):
    """A file in a bucket whose errors are OSErrors, whatever the library calls them."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readinto(self, buffer: Any) -> int:
        with _said(OSError, ""):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _file_system(address: str, config: "S3Config") -> "S3FileSystem":
    try:
        from s3fs import S3FileSystem
    except ImportError:
        raise PlaceError(f"{address}: expected the package s3fs, was absent: pip install 'tapewatch[s3]'") from None
    if (config.key is None) != (config.secret is None):
        expected = "expected both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither"
        raise PlaceError(f"{address}: {expected}, was one of them")
    hidden = [None if s is None else s.get_secret_value() for s in (config.key, config.secret, config.session_token)]
    return S3FileSystem(
        key=hidden[0],
        secret=hidden[1],
        token=hidden[2],
        endpoint_url=config.endpoint_url,
        skip_instance_cache=True,
        use_listings_cache=False,
        config_kwargs={
            "connect_timeout": TIMEOUT_S, "read_timeout": TIMEOUT_S,
            "retries": {"max_attempts": TRIES, "mode": "standard"},
        },
    )  # fmt: skip


@contextmanager
def _said(kind: type[Exception], name: str) -> Iterator[None]:
    """Say a bucket's errors as ours."""
    from aiohttp import ClientError as HttpError
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (OSError, BotoCoreError, ClientError, HttpError, TimeoutError) as e:
        said = one_line(str(e) or type(e).__name__)
        text = f"expected a bucket that answers, was: {said}"
        raise kind(f"{name}: {text}" if name else text) from e
