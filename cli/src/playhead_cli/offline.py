#!/usr/bin/env python3
"""Verify an export of a Playhead log against signed checkpoints, without any server and without trusting one.

This one file is the whole verifier: it needs Python and the package `cryptography`, shares no code with what it checks,
and may be copied to wherever an auditor works:

    python offline.py export.jsonl.gz --checkpoints DIR --public-key FILE

What it checks, line by line and in flat memory (one entry a stream):

1. Each event's hash is sha256(hash of the event before it in its stream || envelope || data), from the exported bytes;
   versions have no holes; positions rise. The first event of a stream follows sha256("playhead event log").
2. Each large value ("kind":"blob") is what its sha256 says, and is there before the first event that refers to it.
3. Each checkpoint is signed (Ed25519), names the one before it by its sha256, and says what the digest over all events
   up to its position is: R(0) = sha256("playhead log digest"), R(n) = sha256(R(n-1) || position as 8 bytes || hash).

In an export of a log from which executions were archived, "kind":"archived" stands for each event of these, with its
hash: it counts for 3, and says nothing of what it was.

What it cannot check: events after the last checkpoint (only their chains speak), and what was never recorded. Of a part
of a log (`--partial`: some executions, some time) only the chains prove something, and a checkpoint whose very event is
in it proves the stream of that event up to there.
"""

import argparse
import base64
import gzip
import json
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

GENESIS = sha256(b"playhead event log").digest()
NO_DIGEST = sha256(b"playhead log digest").digest()
FORMAT = "playhead-checkpoint/1"
_MOST_FAULTS = 1000

_EVENT_END = re.compile(rb',"position":([0-9]{1,19}),"hash":"([0-9a-f]{64})"\}\Z')
_ARCHIVED = re.compile(rb'\{"kind":"archived","position":([0-9]{1,19}),"hash":"([0-9a-f]{64})"\}\Z')
_BLOB = re.compile(
    rb'\{"kind":"blob","tenant":"([A-Za-z0-9_-]+)","digest":"(sha256:[0-9a-f]{64})","size_bytes":([0-9]+),"content":'
)


@dataclass(frozen=True)
class Fault:
    """One thing that is not as it was written. `line` is that of the file, 0 for what concerns no line."""

    kind: str
    line: int
    stream_id: str
    version: int
    position: int
    reason: str

    def __str__(self) -> str:
        where = f"{self.stream_id} version {self.version} (position {self.position}, line {self.line})"
        return f"{self.kind}: {where if self.stream_id else f'position {self.position}'}: {self.reason}"


@dataclass
class Report:
    """What was found. `proven_to` is the position up to which every event is as it was signed."""

    events: int = 0
    streams: int = 0
    blobs: int = 0
    checkpoints: int = 0
    proven_to: int = 0
    proven_events: int = 0
    last_position: int = 0
    last_signed_at: str = ""
    archived: int = 0
    started_in_the_middle: int = 0
    heads_as_signed: int = 0
    faults: list[Fault] = field(default_factory=lambda: [])
    unproven: list[str] = field(default_factory=lambda: [])

    def as_json(self) -> dict[str, Any]:
        return {"intact": not self.faults, **asdict(self)}

    def lines(self) -> Iterator[str]:
        """For people: the first fault first, then what holds, then what was not proven."""
        for number, fault in enumerate(self.faults[:20]):
            yield f"{'first broken' if number == 0 else 'broken'}: {fault}"
        if len(self.faults) > 20:
            yield f"and {len(self.faults) - 20} more"
        verdict = f"{len(self.faults)} faults" if self.faults else "intact"
        yield f"{verdict}: {self.events} events in {self.streams} streams, {self.blobs} large values"
        if self.proven_events:
            yield (
                f"as signed: {self.proven_events} events up to position {self.proven_to}, "
                f"{self.checkpoints} checkpoints, the last at {self.last_signed_at}"
            )
        for each in self.unproven:
            yield f"not proven: {each}"

    def fault(self, kind: str, line: int, stream_id: str, version: int, position: int, reason: str) -> None:
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(Fault(kind, line, stream_id, version, position, reason))


class _Event(NamedTuple):
    position: int
    hash: bytes
    stream_id: str
    version: int
    tenant: str
    meta: bytes
    data: bytes


def verify(file: Path, checkpoints: Path | None, keys: Sequence[str | Path], *, partial: bool = False) -> Report:
    """Check an export (`.gz` or not).

    Raises OSError, EOFError or zlib.error when something cannot be read, ValueError for what is no key.
    """
    report = Report()
    signed = _Signed(checkpoints, dict(_key(key) for key in keys), report) if checkpoints else None
    walk = _Walk(report, signed, partial)
    with _opened(file) as opened:
        for number, line in enumerate(opened, 1):
            walk.take(number, line.rstrip(b"\n"))
    walk.end()
    return report


class _Walk:
    """The lines of an export, one after the other."""

    def __init__(self, report: Report, signed: "_Signed | None", partial: bool):
        self._report = report
        self._signed = signed
        self._partial = partial
        self._heads: dict[str, tuple[int, bytes]] = {}
        self._broken: set[str] = set()
        self._values: set[tuple[str, str]] = set()
        self._digest = NO_DIGEST
        self._is_whole = True
        """Whether all that was read so far may be all that there is, from the beginning of the log on."""

    def take(self, number: int, line: bytes) -> None:
        if not line:
            return
        if line.startswith(b'{"kind":"blob",'):
            self._value(number, line)
            return
        event = _event(line)
        if event is None:
            last = self._report.last_position
            self._report.fault("altered", number, "", 0, last, f"line {number} is no event of an export")
            return
        if event.position <= self._report.last_position:
            reason = f"position {event.position} comes after position {self._report.last_position}"
            self._fault("reordered", number, event, reason)
        else:
            self._report.last_position = event.position
        if event.stream_id:
            self._report.events += 1
            self._chain(number, event)
            self._values_of(number, event)
        else:
            self._report.archived += 1
        if self._signed is not None:
            self._hold_against(self._signed, event)

    def end(self) -> None:
        report = self._report
        if report.started_in_the_middle:
            report.unproven.append(
                f"{report.started_in_the_middle} streams begin in the middle: what was before is not in the file"
            )
        if report.archived:
            report.unproven.append(f"{report.archived} events are in the archive: what they say is not in the file")
        if self._signed is None:
            report.unproven.append("no checkpoints were given: whole chains could have been written anew")
            return
        missing = self._signed.left()
        if missing and self._is_whole and not self._partial:
            reason = f"the file ends at position {report.last_position}, and position {missing} was signed"
            report.fault("removed", 0, "", 0, missing, reason)
        if report.events and report.proven_to < report.last_position:
            since = f"after position {report.proven_to}" if report.proven_to else "in the file"
            report.unproven.append(f"the events {since} are not covered by a checkpoint that holds; their chains are")
        if self._partial:
            report.unproven.append("the file is a part of a log: events that are not in it were not looked for")

    def _value(self, number: int, line: bytes) -> None:
        found = _BLOB.match(line)
        content = line[found.end() : -1] if found else b""
        if found is None or f"sha256:{sha256(content).hexdigest()}" != found[2].decode():
            self._report.fault(
                "altered", number, "", 0, self._report.last_position, "a large value is not what was written"
            )
            return
        self._report.blobs += 1
        self._values.add((found[1].decode(), found[2].decode()))

    def _values_of(self, number: int, event: _Event) -> None:
        if b'"blobs":{' not in event.data:
            return
        references: dict[str, dict[str, str]] = json.loads(event.data).get("blobs", {})
        for name, reference in references.items():
            if (event.tenant, reference["digest"]) not in self._values:
                self._fault("removed", number, event, f"its value {name}, {reference['digest']}, is not in the file")

    def _chain(self, number: int, event: _Event) -> None:
        head = self._heads.get(event.stream_id)
        if head is None:
            self._report.streams += 1
            if event.version > 1 and self._partial:
                self._report.started_in_the_middle += 1
                self._heads[event.stream_id] = event.version, event.hash
                return
            head = 0, GENESIS
        version, previous = head
        self._heads[event.stream_id] = event.version, event.hash
        if event.stream_id in self._broken:
            return  # what follows a break proves nothing
        if event.version > version + 1:
            self._break("removed", number, event, f"version {event.version} comes after version {version}")
        elif event.version <= version:
            self._break("inserted", number, event, f"version {event.version} comes after version {version}")
        elif event.hash != sha256(previous + event.meta + event.data).digest():
            self._break("altered", number, event, "its bytes, or those before it, are not what was hashed")

    def _hold_against(self, signed: "_Signed", event: _Event) -> None:
        if not self._is_whole:
            signed.note_head(event)
            return
        missing = signed.overdue(event.position - 1)
        if missing:
            self._not_as_signed(missing, f"the event at position {missing} is not there, and was signed")
            signed.note_head(event)
            return
        self._digest = sha256(self._digest + event.position.to_bytes(8, "big") + event.hash).digest()
        checkpoint = signed.at(event.position)
        if checkpoint is None:
            return
        events = self._report.events + self._report.archived
        if (checkpoint["digest"], checkpoint["events"]) == (self._digest.hex(), events):
            self._report.proven_to, self._report.proven_events = event.position, events
            self._report.last_signed_at = str(checkpoint["signed_at"])
            return
        self._not_as_signed(event.position, "the events up to here are not those that were signed")
        signed.compare_head(checkpoint, event)

    def _not_as_signed(self, position: int, reason: str) -> None:
        self._is_whole = False
        if not self._partial:
            hint = "" if self._report.proven_to else ", or the file is a part of the log (then say --partial)"
            after = f"after position {self._report.proven_to}: {reason}{hint}"
            self._report.fault("rewritten", 0, "", 0, position, after)

    def _break(self, kind: str, number: int, event: _Event, reason: str) -> None:
        self._broken.add(event.stream_id)
        self._fault(kind, number, event, reason)

    def _fault(self, kind: str, number: int, event: _Event, reason: str) -> None:
        self._report.fault(kind, number, event.stream_id, event.version, event.position, reason)


class _Signed:
    """The checkpoints of a folder, oldest first; each is checked when it is read."""

    def __init__(self, folder: Path, keys: dict[str, Ed25519PublicKey], report: Report):
        self._keys = keys
        self._report = report
        self._before: str | None = None
        self._position = 0
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}")
        self._lines = self._read(sorted(folder.glob("checkpoints-*.jsonl")))
        self._next: dict[str, Any] | None = next(self._lines, None)

    def at(self, position: int) -> dict[str, Any] | None:
        """The checkpoint of this very position, if there is one."""
        found = self._next
        if found is None or found["position"] != position:
            return None
        self._next = next(self._lines, None)
        return found

    def overdue(self, position: int) -> int:
        """The position of the next checkpoint, if that is not behind this one; else 0."""
        return 0 if self._next is None or self._next["position"] > position else int(self._next["position"])

    def left(self) -> int:
        """The position of the first checkpoint that no event has come to, or 0. Those behind it are read, too."""
        first = 0 if self._next is None else int(self._next["position"])
        for _ in self._lines:
            continue
        return first

    def note_head(self, event: _Event) -> None:
        """Count the checkpoints whose event is this one, although the digest cannot be told."""
        while self._next is not None and self._next["position"] < event.position:
            self._next = next(self._lines, None)
        checkpoint = self.at(event.position)
        if checkpoint is not None:
            self.compare_head(checkpoint, event)

    def compare_head(self, checkpoint: dict[str, Any], event: _Event) -> None:
        """Whether an event is the one that was the last when the log was signed."""
        if checkpoint["head"] == event.hash.hex():
            self._report.heads_as_signed += 1
        else:
            reason = "it is not the event that was signed at its position"
            self._report.fault("rewritten", 0, event.stream_id, event.version, event.position, reason)

    def _read(self, files: Sequence[Path]) -> Iterator[dict[str, Any]]:
        for file in files:
            with file.open("rb") as opened:
                for number, line in enumerate(opened, 1):
                    if line.endswith(b"\n"):
                        checkpoint = self._checked(f"{file.name} line {number}", line[:-1])
                        if checkpoint is not None:
                            yield checkpoint

    def _checked(self, where: str, line: bytes) -> dict[str, Any] | None:
        before, self._before = self._before, sha256(line).hexdigest()
        self._report.checkpoints += 1
        checkpoint = _checkpoint(line)
        if checkpoint is None:
            return self._wrong(f"{where} is no checkpoint of the format {FORMAT}")
        key = self._keys.get(checkpoint["key_id"])
        if key is None:
            return self._wrong(f"{where} is signed with key {checkpoint['key_id']}, which was not given")
        try:
            signed = line.rpartition(b',"signature":')[0] + b"}"
            key.verify(base64.b64decode(checkpoint["signature"], validate=True), signed)
        except (InvalidSignature, ValueError):
            return self._wrong(f"{where}: its signature is wrong")
        if checkpoint["previous"] != before:
            self._wrong(f"{where} does not follow the one before it: one was removed or replaced")
        if checkpoint["position"] <= self._position:
            return self._wrong(f"{where} goes back to position {checkpoint['position']}")
        self._position = checkpoint["position"]
        return checkpoint

    def _wrong(self, reason: str) -> None:
        self._report.fault("checkpoint", 0, "", 0, self._position, reason)


def _event(line: bytes) -> _Event | None:
    if archived := _ARCHIVED.match(line):
        return _Event(int(archived[1]), bytes.fromhex(archived[2].decode()), "", 0, "", b"", b"")
    end = _EVENT_END.search(line, max(0, len(line) - 140))
    if end is None:
        return None
    # The envelope has no member "data", and quotes inside of strings are escaped: the first match is the seam.
    envelope, seam, data = line[: end.start()].partition(b',"data":')
    meta = envelope + b"}"
    try:
        told = json.loads(meta)
        where = str(told["stream_id"]), int(told["version"]), str(told["tenant"])
    except (ValueError, KeyError, TypeError):
        return None
    return _Event(int(end[1]), bytes.fromhex(end[2].decode()), *where, meta, data) if seam else None


def _checkpoint(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    checkpoint = cast("dict[str, Any]", found)
    kinds = {"position": int, "events": int, "digest": str, "head": str, "key_id": str, "signature": str}
    is_one = checkpoint.get("format") == FORMAT and "previous" in checkpoint and "signed_at" in checkpoint
    return checkpoint if is_one and all(isinstance(checkpoint.get(n), kind) for n, kind in kinds.items()) else None


def _key(where: str | Path) -> tuple[str, Ed25519PublicKey]:
    content = Path(where).expanduser().read_bytes().strip()
    if content.startswith(b"-----BEGIN"):
        key = load_pem_public_key(content)
    else:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(content, validate=True))
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(f"{where} is no public key of Ed25519")
    return sha256(key.public_bytes_raw()).hexdigest()[:16], key


def _opened(file: Path) -> BinaryIO:
    with file.open("rb") as probe:
        is_gzip = probe.read(2) == b"\x1f\x8b"
    return cast("BinaryIO", gzip.open(file, "rb")) if is_gzip else file.open("rb")


def main(words: Sequence[str] | None = None) -> int:
    """0 when everything holds, 1 when something does not, 2 when it cannot be told."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--public-key", action="append", default=[])
    parser.add_argument("--partial", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(words)
    if bool(asked.checkpoints) != bool(asked.public_key):
        parser.error("--checkpoints and --public-key go together")
    try:
        report = verify(asked.file, asked.checkpoints, asked.public_key, partial=asked.partial)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(json.dumps(report.as_json()) + "\n" if asked.json else "".join(f"{x}\n" for x in report.lines()))
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
