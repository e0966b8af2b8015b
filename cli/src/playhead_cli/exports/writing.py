"""Where an export goes: a file that is there when it is whole, compressed if its name says so, or standard output."""

import gzip
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, cast, get_args

import msgspec

from playhead_cli.exports.reading import Part
from playhead_contracts.errors import Corrupt

Format = Literal["jsonl", "cloudevents", "ocel", "xes", "parquet"]
FORMATS: tuple[str, ...] = get_args(Format)

GZIP_LEVEL = 5
"""The log is repetitive text: more takes twice as long for a few percent."""


async def write(part: Part, format_: Format, file: BinaryIO) -> int:
    """Write a part of the log in a format; gives how many events. Raises Corrupt, ParquetMissing and LogUnavailable."""
    try:
        return await _writer(format_)(part, file)
    except msgspec.DecodeError as error:
        raise Corrupt(f"an event cannot be read, and `playhead verify` says which: {error}") from error


def _writer(format_: Format) -> Callable[[Part, BinaryIO], Awaitable[int]]:
    # Loaded one by one: Parquet is another package, and the bus is of no use to the others.
    match format_:
        case "jsonl":
            from playhead_cli.exports.jsonl import write
        case "cloudevents":
            from playhead_cli.exports.cloudevents import write
        case "ocel":
            from playhead_cli.exports.ocel import write
        case "xes":
            from playhead_cli.exports.xes import write
        case "parquet":
            from playhead_cli.exports.parquet import write
    return write


@contextmanager
def destination(output: Path | None) -> Generator[BinaryIO]:
    """What to write to. A file appears under its name when all is written; what was there before stays until then."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    beside = output.with_name(f"{output.name}.part")
    try:
        with beside.open("wb") as file:
            if output.suffix == ".gz":
                # Without name and time in it: the same events are the same bytes.
                with gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0) as packed:
                    yield cast(BinaryIO, packed)
            else:
                yield file
        beside.replace(output)
    finally:
        beside.unlink(missing_ok=True)
