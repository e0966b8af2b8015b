"""The verifier that needs no server, and shares no code with what it verifies: both say the same of the same log."""

import asyncio
import base64
import gzip
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead_cli import offline
from playhead_contracts.events import BlockSkipped, encode_data, encode_envelope
from playhead_contracts.ids import BlockPath, ExecutionId, StreamId
from playhead_eventlog import GENESIS, RawEvent, chain
from playhead_eventlog.checkpoints import Checkpoints, LogDigest, Place, sign_checkpoint
from playhead_eventlog.lines import event_line
from playhead_eventlog.proving import prove
from playhead_eventlog.signing import BadKey, PublicKey, SigningKey
from tests.unit.graphs import recorded

KEY = SigningKey.new()
AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
EVERY = 4


def made(order: Sequence[int]) -> list[RawEvent]:
    """A log in which the streams of these numbers get an event one after the other; positions have holes."""
    heads: dict[int, tuple[int, bytes]] = {}
    found: list[RawEvent] = []
    for n, stream in enumerate(order, 1):
        version, previous = heads.get(stream, (0, GENESIS.hash))
        data = BlockSkipped(path=BlockPath("a"), reason=f'{n} "hash":"x" ,"data":')
        stream_id = StreamId(f"execution:00000000-0000-7000-8000-{stream:012}")
        envelope = msgspec.structs.replace(
            recorded(data, version + 1).envelope, stream_id=stream_id, execution_id=ExecutionId(stream_id[10:])
        )
        meta, encoded = encode_envelope(envelope), encode_data(data)
        own = chain(previous, meta, encoded)
        found.append(RawEvent(n * 3, stream_id, version + 1, data.type_name(), encoded, meta, previous, own))
        heads[stream] = version + 1, own
    return found


def sign(events: Sequence[RawEvent], folder: Path) -> Checkpoints:
    """A checkpoint every few events, as the signer makes them."""
    checkpoints, digest, line = Checkpoints(folder), LogDigest(), None
    for event in events:
        digest.add(Place(event.position, event.hash))
        if digest.events % EVERY == 0:
            line = sign_checkpoint(digest, KEY, line, AT)
            checkpoints.add(line, AT)
    return checkpoints


def written(lines: Sequence[bytes], folder: Path, name: str = "log.jsonl") -> tuple[Path, Path]:
    """The file, and that of the public key."""
    file, key = folder / name, folder / "key.pub"
    file.write_bytes(gzip.compress(b"".join(lines)) if name.endswith(".gz") else b"".join(lines))
    key.write_bytes(KEY.public.pem())
    return file, key


ORDERS = st.lists(st.integers(0, 2), min_size=EVERY, max_size=20)


@given(ORDERS, st.sampled_from(["log.jsonl", "log.jsonl.gz"]))
@settings(max_examples=20, deadline=None)
def test_an_intact_export_is_proven_as_far_as_it_was_signed_and_no_alarm_is_raised(order: list[int], name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        events = made(order)
        signed = sign(events, Path(folder) / "signed")
        file, key = written([event_line(event) for event in events], Path(folder), name)
        report = offline.verify(file, signed.folder, [key])
        assert (report.faults, report.events) == ([], len(events))
        assert report.proven_events == len(events) // EVERY * EVERY
        assert report.streams == len(set(order))


@given(ORDERS, st.data())
@settings(max_examples=80, deadline=None)
def test_whatever_is_done_to_what_was_signed_is_found(order: list[int], data: st.DataObject) -> None:
    """A byte changed, a line removed, two lines exchanged, a line twice: both verifiers tell."""
    with tempfile.TemporaryDirectory() as folder:
        events = made(order)
        signed = sign(events, Path(folder) / "signed")
        end = len(events) // EVERY * EVERY
        lines = [event_line(event) for event in events]
        at = data.draw(st.integers(0, end - 1))
        match data.draw(st.sampled_from(["change", "remove", "exchange", "repeat", "cut"])):
            case "change":
                place = data.draw(st.integers(0, len(lines[at]) - 2))
                new = data.draw(st.integers(1, 255))
                changed = bytearray(lines[at])
                changed[place] ^= new
                lines[at] = bytes(changed)
            case "remove":
                del lines[at]
            case "exchange":
                other = data.draw(st.integers(0, end - 1).filter(lambda n: n != at))
                lines[at], lines[other] = lines[other], lines[at]
            case "repeat":
                lines.insert(at, lines[at])
            case _:
                del lines[at:]
        file, key = written(lines, Path(folder))
        assert offline.verify(file, signed.folder, [key]).faults


@given(ORDERS, st.data())
@settings(max_examples=30, deadline=None)
def test_a_chain_that_was_computed_anew_is_found_by_both_verifiers(order: list[int], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        events = made(order)
        signed = sign(events, Path(folder) / "signed")
        at = data.draw(st.integers(0, len(events) // EVERY * EVERY - 1))
        heads: dict[StreamId, bytes] = {}
        for n, event in enumerate(events):
            content = event.data.replace(b'"reason":"', b'"reason":"forged ') if n == at else event.data
            previous = heads.get(event.stream_id, GENESIS.hash)
            own = chain(previous, event.meta, content)
            events[n] = msgspec.structs.replace(event, data=content, prev_hash=previous, hash=own)
            heads[event.stream_id] = own
        file, key = written([event_line(event) for event in events], Path(folder))
        assert {fault.kind for fault in offline.verify(file, signed.folder, [key]).faults} == {"rewritten"}
        # Without checkpoints nobody can tell.
        assert offline.verify(file, None, []).faults == []

        async def places() -> AsyncGenerator[Place]:
            for event in events:
                yield Place(event.position, event.hash)

        proof = asyncio.run(prove(places(), signed.lines(), [KEY.public]))
        assert proof.faults[0].kind == "rewritten"
        assert proof.faults[0].after < events[at].position <= proof.faults[0].until


def test_a_part_of_a_log_proves_its_chains_and_says_what_it_does_not(tmp_path: Path) -> None:
    events = made([0, 1, 0, 1, 0, 1, 0, 1])
    signed = sign(events, tmp_path / "signed")
    one = [event_line(event) for event in events if event.stream_id == events[1].stream_id]
    file, key = written(one, tmp_path)
    assert [fault.kind for fault in offline.verify(file, signed.folder, [key]).faults] == ["rewritten"]
    report = offline.verify(file, signed.folder, [key], partial=True)
    assert (report.faults, report.proven_events, report.heads_as_signed) == ([], 0, 2)
    assert any("part of a log" in said for said in report.unproven)
    late, key = written(one[2:], tmp_path)
    report = offline.verify(late, None, [], partial=True)
    assert (report.faults, report.started_in_the_middle) == ([], 1)
    assert [fault.kind for fault in offline.verify(late, None, []).faults] == ["removed"]


def test_the_file_is_a_program_that_runs_by_itself(tmp_path: Path) -> None:
    """An auditor copies it: nothing of ours is imported."""
    events = made([0, 1, 0, 1, 0])
    signed = sign(events, tmp_path / "signed")
    file, key = written([event_line(event) for event in events], tmp_path)
    program = tmp_path / "verifier.py"
    program.write_bytes(Path(offline.__file__).read_bytes())
    words = [sys.executable, "-S", "-I", "-c", _ALONE, str(program), str(file)]
    told = subprocess.run([*words, "--checkpoints", str(signed.folder), "--public-key", str(key)], capture_output=True)
    assert told.returncode == 0, told.stderr
    assert b"as signed: 4 events up to position 12" in told.stdout
    file.write_bytes(file.read_bytes().replace(b"2 ", b"3 ", 1))
    told = subprocess.run([*words, "--json"], capture_output=True)
    assert told.returncode == 1
    assert msgspec.json.decode(told.stdout)["faults"][0]["kind"] == "altered"


_ALONE = """
import runpy, sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0].startswith("playhead") or name.partition(".")[0] in ("msgspec", "psycopg"):
            raise ImportError(f"{name} is not here")
sys.meta_path.insert(0, Nothing())
sys.path.extend(%r)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
""" % (sys.path,)


def test_keys_are_read_as_pem_and_as_base64_from_files_and_as_text(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(KEY.pem())
    public = tmp_path / "key.pub"
    public.write_bytes(KEY.public.pem())
    assert SigningKey.read(file).key_id == SigningKey.read(KEY.pem().decode()).key_id == KEY.key_id
    assert PublicKey.read(public).key_id == PublicKey.read(file).key_id == KEY.key_id
    raw = base64.b64encode(bytes(range(32))).decode()
    assert SigningKey.read(raw).key_id == SigningKey.read(raw).public.key_id
    for nothing in ("", "nonsense", base64.b64encode(b"short").decode(), str(tmp_path / "none.pem")):
        with pytest.raises(BadKey):
            SigningKey.read(nothing)
    with pytest.raises(BadKey):
        PublicKey.read(tmp_path / "none.pub")
    assert KEY.public.is_signed(b"x", KEY.sign(b"x"))
    assert not KEY.public.is_signed(b"y", KEY.sign(b"x"))
    assert not KEY.public.is_signed(b"x", "no base64 at all")


def test_a_clock_that_went_back_does_not_put_a_checkpoint_before_the_last(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.add(b"first", AT)
    checkpoints.add(b"second", AT.replace(day=20))
    checkpoints.add(b"third", AT.replace(day=22))
    assert [each.line for each in checkpoints.lines()] == [b"first", b"second", b"third"]
    assert checkpoints.last() == ("checkpoints-2026-11-22.jsonl", 1, b"third")
