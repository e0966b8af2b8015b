"""Large values of events: what is stored apart, and that putting it back gives what was there."""

from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
import pytest
from msgspec.structs import replace

from playhead_cli.chains import Chains
from playhead_contracts.events import (
    BlobReference,
    BlockCompleted,
    BlockDispatched,
    BlockError,
    BlockFailed,
    BlockOverridden,
    BlockRetryScheduled,
    BlockStarted,
    BlockStepCompleted,
    ChildEnded,
    EventData,
    EventMatched,
    ExecutionCompleted,
    ExecutionCreated,
    IterationCompleted,
    MatchedEvent,
    TaskAnswered,
    Watch,
    WatchedEvent,
    WithBlobs,
    decode_data,
    encode_data,
    encode_envelope,
)
from playhead_contracts.ids import BlockPath, ExecutionId, StreamId, TenantId, WorkflowId
from playhead_eventlog import GENESIS, BlobKey, BrokenBlob, RawEvent, chain
from playhead_eventlog.blobs import BLOB_BYTES, FIELDS, put_back, set_apart
from playhead_eventlog.stored import references_in
from tests.unit.graphs import recorded

TENANT, PATH, AT = TenantId("acme"), BlockPath("a"), datetime(2026, 1, 2, tzinfo=UTC)
LARGE = {"z": 'ü\x00"blobs":{' * 40_000, "a": [1.5, None, {"blobs": {"outputs": 1}}]}
OTHER = {"text": "x" * BLOB_BYTES}
ERROR = BlockError(type="odd", message="m", details=LARGE)

SAMPLES: list[WithBlobs] = [
    ExecutionCreated(
        workflow_id=WorkflowId("w"), workflow_version=1, digest="d", input=LARGE, variables=OTHER, plan=LARGE
    ),
    ExecutionCompleted(output=LARGE, http_status=200),
    BlockStarted(
        path=PATH, inputs=LARGE, watch=Watch(events=(WatchedEvent(type="paid"),), need="all", captured={"a": OTHER})
    ),
    BlockCompleted(path=PATH, outputs=LARGE, inputs=OTHER, variables=LARGE, decision=("yes",)),
    BlockFailed(path=PATH, error=ERROR, inputs=LARGE),
    BlockRetryScheduled(path=PATH, attempt=1, error=ERROR, due_at=AT, inputs=LARGE),
    BlockStepCompleted(path=PATH, attempt=1, name="s", outputs=LARGE),
    BlockOverridden(path=PATH, outputs=LARGE),
    BlockDispatched(path=PATH, attempt=1, task_id="t", task="resize", inputs=LARGE),
    IterationCompleted(path=PATH, index=0, outputs=LARGE, error=ERROR),
    TaskAnswered(path=PATH, task_id="t", outputs=LARGE, error=ERROR),
    EventMatched(path=PATH, event=MatchedEvent(number=0, position=1, type="paid", source="s", id="e", data=LARGE)),
    ChildEnded(path=PATH, child=ExecutionId("c"), status="failed", outputs=LARGE, error=ERROR),
]


def name_of(data: WithBlobs) -> str:
    return data.type_name()


def apart(data: WithBlobs) -> tuple[bytes, dict[BlobKey, bytes]]:
    stored, blobs = set_apart(type(data), msgspec.json.encode(data, order="sorted"), TENANT)
    return stored, {blob.key: blob.content for blob in blobs}


def back(stored: bytes, contents: dict[BlobKey, bytes]) -> bytes:
    return put_back(stored, references_in(stored), contents, TENANT, "x version 1")


def test_every_event_that_may_have_large_values_says_which() -> None:
    kinds = {kind for kind in get_args(EventData) if issubclass(kind, WithBlobs)}
    assert set(FIELDS) == kinds == {type(sample) for sample in SAMPLES}


@pytest.mark.parametrize("sample", SAMPLES, ids=name_of)
def test_every_large_field_is_stored_apart_and_comes_back_as_it_was(sample: WithBlobs) -> None:
    stored, contents = apart(sample)
    assert len(stored) < 1000
    assert references_in(stored).keys() == set(FIELDS[type(sample)])
    assert {reference.size_bytes for reference in references_in(stored).values()} == {
        len(content) for content in contents.values()
    }
    without: Any = decode_data(stored)
    assert encode_data(without) == stored
    whole = back(stored, contents)
    assert decode_data(whole) == replace(sample, blobs=without.blobs)
    assert encode_data(decode_data(whole)) == whole


@pytest.mark.parametrize("sample", SAMPLES, ids=name_of)
def test_an_event_that_was_read_and_is_written_again_is_stored_the_same(sample: WithBlobs) -> None:
    stored, contents = apart(sample)
    again: Any = decode_data(back(stored, contents))
    assert apart(again) == (stored, contents)


def test_the_same_value_has_one_digest_whatever_the_order_of_its_keys() -> None:
    one = apart(BlockCompleted(path=PATH, outputs={"a": OTHER, "b": 1}))[1]
    other = apart(ExecutionCompleted(output={"b": 1, "a": OTHER}))[1]
    assert one == other


def test_values_that_are_only_large_together_stay() -> None:
    half = {"text": "x" * (BLOB_BYTES // 2)}
    data = BlockCompleted(path=PATH, outputs=half, inputs=half, variables=half)
    assert apart(data) == (encode_data(data), {})


def test_a_value_of_exactly_the_limit_stays_and_one_byte_more_does_not() -> None:
    text = "x" * (BLOB_BYTES - 2)
    assert apart(ExecutionCompleted(output=text))[1] == {}
    assert list(apart(ExecutionCompleted(output=text + "x"))[1].values()) == [b'"%bx"' % text.encode()]


def test_somebodys_value_that_looks_like_a_reference_is_none() -> None:
    data = encode_data(ExecutionCompleted(output={"blobs": {"output": {"digest": "d", "size_bytes": 1}}}))
    assert references_in(data) == {}


def test_a_content_that_is_missing_or_another_is_told_with_its_place() -> None:
    stored, contents = apart(ExecutionCompleted(output=LARGE))
    [key] = contents
    with pytest.raises(BrokenBlob, match=r"^output of x version 1: .* is not in the log$"):
        back(stored, {})
    with pytest.raises(BrokenBlob, match=r"is not what was written"):
        back(stored, {key: contents[key] + b" "})


def raw_of(data: BlockCompleted) -> tuple[RawEvent, dict[BlobKey, bytes]]:
    """The first event of a stream as it is stored."""
    stored, contents = apart(data)
    envelope = recorded(data, 1).envelope
    meta = encode_envelope(replace(envelope, tenant=TENANT))
    own = chain(GENESIS.hash, meta, stored)
    stream = StreamId(envelope.stream_id)
    return RawEvent(7, stream, 1, data.type_name(), stored, meta, GENESIS.hash, own), contents


def test_verifying_reads_each_value_once_and_tells_every_event_whose_value_is_broken() -> None:
    raw, contents = raw_of(BlockCompleted(path=PATH, outputs=LARGE, inputs=LARGE))
    chains = Chains()
    chains.check([raw])
    assert chains.unseen_blobs(raw) == contents.keys()
    chains.check_blobs(raw, contents)
    assert (chains.unseen_blobs(raw), chains.blobs, chains.faults) == (set(), 1, [])

    chains = Chains()
    chains.check([raw])
    chains.check_blobs(raw, {})
    assert [(fault.version, fault.position) for fault in chains.faults] == [(1, 7), (1, 7)]
    assert "not in the log" in chains.faults[0].reason
    assert not chains.breaks


def test_the_values_of_an_event_whose_chain_is_broken_are_not_looked_at() -> None:
    raw, _ = raw_of(BlockCompleted(path=PATH, outputs=LARGE))
    forged = replace(raw, data=raw.data.replace(b'"blobs":{', b'"blobs":{1'))
    chains = Chains()
    chains.check([forged])
    assert chains.unseen_blobs(forged) == set()
    chains.check_blobs(forged, {})
    assert len(chains.faults) == 1


def test_how_much_there_is_to_read_counts_what_is_stored_apart() -> None:
    raw, contents = raw_of(BlockCompleted(path=PATH, outputs=LARGE))
    assert raw.size_bytes == len(raw.data) + sum(len(content) for content in contents.values())
    assert list(raw.blobs) == ["outputs"]
    assert msgspec.json.decode(raw.data, type=dict[str, Any])["blobs"]["outputs"] == msgspec.to_builtins(
        BlobReference(digest=next(iter(contents)).digest, size_bytes=len(next(iter(contents.values()))))
    )
