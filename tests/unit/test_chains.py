"""Verifying: a log that is not what was written is told, and where."""

from msgspec.structs import replace

from playhead_cli.chains import Chains
from playhead_contracts.events import BlockSkipped, encode_data, encode_envelope
from playhead_contracts.ids import BlockPath
from playhead_eventlog import GENESIS, RawEvent, StreamHead, chain
from tests.unit.graphs import recorded


def stream(length: int) -> list[RawEvent]:
    """A stream as it is stored."""
    found: list[RawEvent] = []
    previous = GENESIS.hash
    for version in range(1, length + 1):
        event = recorded(BlockSkipped(path=BlockPath("a"), reason="r"), version)
        meta, data = encode_envelope(event.envelope), encode_data(event.data)
        own = chain(previous, meta, data)
        found.append(
            RawEvent(version, event.envelope.stream_id, version, event.envelope.type, data, meta, previous, own)
        )
        previous = own
    return found


def breaks(events: list[RawEvent], head: RawEvent | None = None) -> list[tuple[int, str]]:
    chains = Chains()
    chains.check(events)
    if head is not None:
        chains.end({head.stream_id: StreamHead(head.version, head.hash)})
    return [(found.version, found.reason) for found in chains.breaks.values()]


def test_a_stream_that_is_what_was_written_has_no_break() -> None:
    events = stream(5)
    assert breaks(events, events[-1]) == []


def test_changed_data_is_told_at_its_version() -> None:
    events = stream(5)
    events[2] = replace(events[2], data=events[2].data.replace(b'"r"', b'"s"'))
    assert breaks(events)[0][0] == 3


def test_data_changed_together_with_its_hash_is_told_at_the_next_version() -> None:
    events = stream(5)
    data = events[2].data.replace(b'"r"', b'"s"')
    events[2] = replace(events[2], data=data, hash=chain(events[2].prev_hash, events[2].meta, data))
    assert breaks(events)[0][0] == 4


def test_a_missing_event_is_told() -> None:
    events = stream(5)
    del events[2]
    assert "missing" in breaks(events)[0][1]


def test_a_missing_end_is_told() -> None:
    events = stream(5)
    assert "the end is missing" in breaks(events[:3], events[-1])[0][1]


def test_a_column_that_says_something_else_than_the_hashed_bytes_is_told() -> None:
    events = stream(5)
    events[4] = replace(events[4], type="block.completed")
    assert breaks(events)[0][0] == 5
