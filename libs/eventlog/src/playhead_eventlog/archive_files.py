"""Where the files of an archive are: a folder of this machine, or whatever fsspec has a driver for."""

import gzip
import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from playhead_contracts.errors import PlayheadError

_BESIDE = ".part"


class BadArchiveUrl(PlayheadError):
    """What should be the place of an archive is none that can be reached."""

    exit_code = 2


class ArchiveFiles:
    """Files by their names, which may have folders in them."""

    def __init__(self, url: str):
        """A path, `file://PATH`, or the URL of another store. Raises BadArchiveUrl."""
        self.url = url
        self._folder = _folder(url)
        self._store: Any = None
        if self._folder is None:
            self._store, self._root = _store(url)

    def read(self, name: str, offset: int, size: int) -> bytes:
        """A part of a file. Raises OSError, EOFError when the file is shorter."""
        with self._opened(name) as file:
            file.seek(offset)
            content = file.read(size)
        if len(content) != size:
            raise EOFError(f"it ends {size - len(content)} bytes too early")
        return content

    @contextmanager
    def lines(self, name: str) -> Generator[Iterator[bytes]]:
        """All lines of a file, unpacked. Raises OSError, EOFError and zlib.error."""
        with self._opened(name) as file:
            yield iter(gzip.GzipFile(fileobj=file, mode="rb") if name.endswith(".gz") else file)

    def names(self) -> list[str]:
        """Of all files that are there."""
        if self._folder is not None:
            found = [path for path in self._folder.rglob("*.jsonl*") if path.is_file() and path.suffix != _BESIDE]
            return sorted(path.relative_to(self._folder).as_posix() for path in found)
        found = cast(list[str], self._store.find(self._root))
        return sorted(name.removeprefix(f"{self._root}/") for name in found if ".jsonl" in name)

    def put(self, name: str, source: Path) -> None:
        """Keep a local file under a name, in place of what was there; durable when this returns. Raises OSError."""
        if self._folder is None:
            self._store.makedirs(f"{self._root}/{name}".rpartition("/")[0], exist_ok=True)
            self._store.put_file(str(source), f"{self._root}/{name}")
            return
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + _BESIDE)
        with source.open("rb") as given, beside.open("wb") as file:
            shutil.copyfileobj(given, file, 1024 * 1024)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        for folder in (path.parent, self._folder):
            _sync(folder)

    @contextmanager
    def _opened(self, name: str) -> Generator[BinaryIO]:
        if self._folder is not None:
            with (self._folder / name).open("rb") as file:
                yield file
        else:
            with self._store.open(f"{self._root}/{name}", "rb") as file:
                yield cast(BinaryIO, file)


def _folder(url: str) -> Path | None:
    if url.startswith("file://"):
        return Path(url.removeprefix("file://"))
    return None if "://" in url else Path(url).expanduser()


def _store(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
    except ImportError as error:
        raise BadArchiveUrl(f"{url} needs fsspec, which is not installed; a folder does not") from error
    try:
        store, root = cast(tuple[Any, str], url_to_fs(url))
    except (ValueError, ImportError) as error:
        raise BadArchiveUrl(f"{url}: {error}") from error
    return store, root.rstrip("/")


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
