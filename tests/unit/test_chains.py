"""Verifying: a log that is not what was written is told, and where."""

from msgspec.structs import replace

from playhead_cli.chains import Break, Chains
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
        chains.check_head(head.stream_id, StreamHead(head.version, head.hash))
        chains.end()
    return [(found.version, found.reason) for found in chains.breaks.values()]


def faults(events: list[RawEvent], head: RawEvent | None = None) -> list[Break]:
    chains = Chains()
    chains.check(events)
    chains.check_order(events)
    if head is not None:
        chains.check_head(head.stream_id, StreamHead(head.version, head.hash))
    return chains.faults


def rehashed(event: RawEvent) -> RawEvent:
    """An event with other data, and a hash that fits it."""
    data = event.data.replace(b'"r"', b'"s"')
    return replace(event, data=data, hash=chain(event.prev_hash, event.meta, data))


def test_a_stream_that_is_what_was_written_has_no_break() -> None:
    events = stream(5)
    assert breaks(events, events[-1]) == []


def test_changed_data_is_told_at_its_version() -> None:
    events = stream(5)
    events[2] = replace(events[2], data=events[2].data.replace(b'"r"', b'"s"'))
    assert breaks(events)[0][0] == 3


def test_data_changed_together_with_its_hash_is_told_at_its_version_once_the_next_is_seen() -> None:
    events = stream(5)
    events[2] = rehashed(events[2])
    [found] = faults(events)
    assert (found.version, found.position, found.kind) == (3, 3, "altered")
    assert "version 4" in found.reason


def test_an_event_that_does_not_follow_the_one_before_it_is_the_wrong_one_if_the_next_does_not_either() -> None:
    events = stream(5)
    events[2] = rehashed(replace(events[2], prev_hash=bytes(32)))
    assert [(found.version, found.kind) for found in faults(events)] == [(3, "altered")]
    short = events[:3]
    assert [(found.version, found.kind) for found in faults(short, stream(3)[-1])] == [(3, "altered")]


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


def test_events_in_each_others_place_are_told_as_such() -> None:
    by_position = stream(5)
    by_position[1], by_position[2] = by_position[2], by_position[1]
    assert [(found.version, found.kind) for found in faults(by_position)] == [(2, "reordered")]
    by_version = stream(5)
    by_version[1], by_version[2] = replace(by_version[2], version=2), replace(by_version[1], version=3)
    assert [(found.version, found.kind) for found in faults(by_version)] == [(2, "reordered")]


def test_a_missing_event_stays_missing_when_those_behind_it_moved_up() -> None:
    events = stream(5)
    moved = [*events[:2], *(replace(event, version=event.version - 1) for event in events[3:])]
    assert [(found.version, found.kind) for found in faults(moved)] == [(3, "removed")]


def test_an_event_that_was_put_in_is_told_wherever_it_was_put() -> None:
    events = stream(3)
    between = rehashed(events[1])
    meta = events[2].meta.replace(b'"version":3', b'"version":4')
    after = rehashed(replace(events[2], version=4, position=4, meta=meta, prev_hash=events[2].hash))
    [found] = faults([*events[:2], between, events[2]])
    assert found.kind == "inserted"
    pushed = [*events[:1], between, *(replace(event, version=event.version + 1) for event in events[1:])]
    [found] = faults(pushed)
    assert (found.version, found.kind) == (2, "inserted")
    [found] = faults([*events, after], events[-1])
    assert (found.version, found.kind) == (4, "inserted")


def test_a_stream_that_has_no_head_and_a_head_that_is_another_are_told() -> None:
    events = stream(3)
    chains = Chains()
    chains.check(events)
    chains.end()
    assert [(found.version, found.kind) for found in chains.faults] == [(3, "inserted")]
    [found] = faults(events, replace(events[-1], hash=bytes(32)))
    assert (found.version, found.kind) == (3, "altered")
