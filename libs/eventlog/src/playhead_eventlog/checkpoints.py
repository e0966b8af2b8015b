"""Signed checkpoints: what the whole log was at a moment, kept where whoever rules the database does not reach.

A hash chain proves that one event follows another; whoever may write to the database as its owner can compute a whole
chain anew, and nothing in the database tells. So the log as a whole has a running digest, over the position and the
hash of every event in the order of positions:

    R(0) = sha256("playhead log digest")        R(n) = sha256(R(n-1) || position, 8 bytes big-endian || hash of event n)

An event's hash covers all events before it in its stream, so R(n) stands for every byte of the log up to there, and for
its order. A **checkpoint** says R at a position, names the checkpoint before it by its sha256, and is signed. Who has
the public key and any copy of the checkpoints finds out, with no help of the database, that anything before the last of
them was altered, removed, inserted or put elsewhere; and if the files themselves are rolled back, any later copy tells.

A checkpoint is one line of JSON, without spaces. What is signed is the line without its last member, `signature`:

    {"format":...,"log_id":...,"position":...,...,"key_id":...,"signature":"<base64>"}

Lines stand in files by day, `checkpoints-2026-11-21.jsonl`, which are only ever added to. What they prove about a log
is told in `proving.py`.
"""

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec

from playhead_contracts.errors import Corrupt
from playhead_eventlog.signing import PublicKey, SigningKey

FORMAT = "playhead-checkpoint/1"
NO_DIGEST = sha256(b"playhead log digest").digest()
"""The digest of a log that has no event yet."""

_SEAM = b',"signature":'
_FILES = "checkpoints-*.jsonl"
_ASKED = "sign-now"


class BrokenCheckpoint(Corrupt):
    """A line among the checkpoints is none, or not what was signed."""


class CheckpointsChanged(Corrupt):
    """The checkpoints are not those that were written, or the log is not the one that they are of."""


class Place(NamedTuple):
    """Where an event stands, and what it hashes to: all that the digest needs of it."""

    position: int
    hash: bytes


class LogDigest:
    """The running digest of the log, event by event."""

    __slots__ = ("digest", "events", "first", "last")

    def __init__(self) -> None:
        self.digest = NO_DIGEST
        self.events = 0
        self.first: Place | None = None
        self.last = Place(0, b"")

    def add(self, place: Place) -> None:
        """Take in the next event, in the order of positions."""
        self.digest = sha256(self.digest + place[0].to_bytes(8, "big") + place[1]).digest()
        self.events += 1
        if self.first is None:
            self.first = place
        self.last = place

    def go_on_from(self, checkpoint: "Checkpoint") -> None:
        """Take what was signed for what was walked."""
        self.digest, self.events = bytes.fromhex(checkpoint.digest), checkpoint.events
        self.first = Place(0, bytes.fromhex(checkpoint.log_id))
        self.last = Place(checkpoint.position, bytes.fromhex(checkpoint.head))

    @property
    def log_id(self) -> str:
        """What tells logs apart: the beginning of the hash of the first event. Empty for an empty log."""
        return "" if self.first is None else self.first.hash.hex()[:32]


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What the log was at a moment. The fields stand in the line in this order."""

    format: str
    log_id: str
    position: int
    events: int
    digest: str
    """R at `position`, hexadecimal."""
    head: str
    """The hash of the event at `position`, hexadecimal."""
    signed_at: datetime
    previous: str | None
    """sha256 of the line of the checkpoint before, hexadecimal; None for the first."""
    key_id: str
    signature: str


_decoder = msgspec.json.Decoder(Checkpoint)


def sign_checkpoint(digest: LogDigest, key: SigningKey, previous: bytes | None, at: datetime) -> bytes:
    """The line of a checkpoint, without the newline. `previous` is the line before it."""
    unsigned = Checkpoint(
        format=FORMAT,
        log_id=digest.log_id,
        position=digest.last.position,
        events=digest.events,
        digest=digest.digest.hex(),
        head=digest.last.hash.hex(),
        signed_at=at.astimezone(UTC),
        previous=None if previous is None else line_id(previous),
        key_id=key.key_id,
        signature="",
    )
    content = _signed_part(msgspec.json.encode(unsigned))
    return content[:-1] + _SEAM + msgspec.json.encode(key.sign(content)) + b"}"


def line_id(line: bytes) -> str:
    """What the next checkpoint calls the one of this line."""
    return sha256(line).hexdigest()


def unchecked_checkpoint(line: bytes) -> Checkpoint | None:
    """What a line says, whoever signed it; None if it is no checkpoint."""
    try:
        return _decoder.decode(line)
    except msgspec.DecodeError:
        return None


def read_checkpoint(line: bytes, keys: Iterable[PublicKey]) -> Checkpoint:
    """The checkpoint in a line, whose signature is that of one of the keys. Raises BrokenCheckpoint."""
    try:
        checkpoint = _decoder.decode(line)
    except msgspec.DecodeError as error:
        raise BrokenCheckpoint(f"it cannot be read: {error}") from error
    if checkpoint.format != FORMAT:
        raise BrokenCheckpoint(f"its format is {checkpoint.format}; this Playhead knows {FORMAT}")
    key = next((key for key in keys if key.key_id == checkpoint.key_id), None)
    if key is None:
        raise BrokenCheckpoint(f"it is signed with key {checkpoint.key_id}, which was not given")
    if not key.is_signed(_signed_part(line), checkpoint.signature):
        raise BrokenCheckpoint("its signature is wrong: it is not what was signed")
    return checkpoint


def _signed_part(line: bytes) -> bytes:
    return line.rpartition(_SEAM)[0] + b"}"


class Written(NamedTuple):
    """A line among the checkpoints, and where it stands."""

    file: str
    number: int
    line: bytes


class Checkpoints:
    """The checkpoints in a folder, which one process at a time adds to."""

    def __init__(self, folder: Path):
        self.folder = folder

    def lines(self) -> Iterator[Written]:
        """All of them, oldest first. A last line that was not written to its end counts as not written."""
        for path in self._files():
            with path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if line.endswith(b"\n"):
                        yield Written(path.name, number, line[:-1])

    @property
    def chain(self) -> str | None:
        """What tells one folder of checkpoints from others: the id of its first line."""
        first = next(self.lines(), None)
        return None if first is None else line_id(first.line)

    def last(self) -> Written | None:
        """The newest line."""
        for path in reversed(self._files()):
            *_, found = [None, *(Written(path.name, n, line[:-1]) for n, line in _whole_lines(path))]
            if found is not None:
                return found
        return None

    def add(self, line: bytes, at: datetime) -> None:
        """Write a line behind all others; it is on the disk when this returns. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        files = self._files()
        # Clocks can go back; the order of the files must not.
        name = max(f"checkpoints-{at.astimezone(UTC):%Y-%m-%d}.jsonl", *(path.name for path in files[-1:]), "")
        path = self.folder / name
        is_new = not path.exists()
        with path.open("ab") as file:
            whole_bytes = sum(len(line) for _, line in _whole_lines(path))
            # What a crash left of a line is not one, and nothing may follow it.
            file.truncate(whole_bytes)
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            _sync_folder(self.folder)

    @property
    def is_asked(self) -> bool:
        """Whether somebody wants the log to be signed now."""
        return (self.folder / _ASKED).exists()

    def ask(self) -> None:
        """Ask whoever signs to do it now."""
        (self.folder / _ASKED).touch()

    def answer(self) -> None:
        """It is done."""
        (self.folder / _ASKED).unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(_FILES))


def _whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                yield number, line


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
