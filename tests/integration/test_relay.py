"""The copy of the log on the bus: each event once, in order, whatever is killed or wiped."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec
import pytest

from playhead_contracts.events import (
    BlockCompleted,
    BlockSkipped,
    EventData,
    EventPublished,
    EventReceived,
    decode_envelope,
)
from playhead_contracts.ids import BlockPath, ExecutionId, StreamId, WorkflowId, execution_stream
from playhead_eventlog import BLOB_BYTES, GENESIS, EventLog
from playhead_projector.bus_copy import MAX_ATTRIBUTES_BYTES, MAX_TYPE_LENGTH, bus_message
from playhead_projector.bus_stream import StreamMoved, find_end, put
from playhead_projector.relay import Relay, RelayStopped
from playhead_projector.store import open_store
from playhead_runtime.bus import Bus
from playhead_runtime.embedded_nats import NatsServer
from playhead_runtime.ids import new_id
from tests.conftest import Database
from tests.derived import Copy, api, assert_is_the_log, copies, stream_state
from tests.relaying import copied, has_messages, log, relaying
from tests.system import eventually
from tests.traffic import TENANTS, Traffic, new_event

__all__ = ["log"]

PATH = BlockPath("a")


async def test_the_copy_is_the_log_in_order_as_cloud_events(log: EventLog, bus: Bus, database: Database) -> None:
    traffic = Traffic(log)
    await traffic.publish(WorkflowId("refunds"))
    async with relaying(log, bus, database) as relay:
        await traffic.run(20)
        await copied(relay, log)
        await relay.check()
    await assert_is_the_log(bus, log)
    last: dict[str, int] = {}
    for raw, copy in zip(await log.read_log(0, 100_000), await copies(bus), strict=True):
        envelope = decode_envelope(raw.meta)
        assert copy.subject == f"playhead.evt.{envelope.tenant}.{envelope.workflow_id}.{raw.type}"
        expected = {
            "ce-id": envelope.id,
            "ce-source": f"/playhead/{envelope.tenant}/{raw.stream_id}",
            "ce-specversion": "1.0",
            "ce-type": f"dev.playhead.{raw.type}",
            "ce-time": msgspec.to_builtins(envelope.recorded_at),
            "ce-datacontenttype": "application/json",
            "ce-dataschema": f"urn:playhead:contract:events/{raw.type}.v1.json",
            "ce-subject": raw.stream_id,
            "ce-partitionkey": raw.stream_id,
            "ce-sequence": f"{raw.version:010}",
            "ce-correlationid": (envelope.correlation_id or "").replace(" ", "%20"),
            "ce-traceparent": envelope.traceparent,
            "playhead-position": str(raw.position),
            "playhead-previous": str(last.get(envelope.tenant, 0)),
            "playhead-stream": raw.stream_id,
            "playhead-version": str(raw.version),
            "traceparent": envelope.traceparent,
            "Nats-Msg-Id": envelope.id,
        }
        last[envelope.tenant] = raw.position
        own = {name: value for name, value in copy.headers.items() if name in expected or not name.startswith("Nats-")}
        assert own == expected


async def test_a_relay_that_is_killed_again_and_again_never_repeats_and_never_skips(
    log: EventLog, bus: Bus, database: Database
) -> None:
    traffic = asyncio.create_task(Traffic(log, seed=2).run(150))
    kills = 0
    while not traffic.done() or kills < 5:
        before = (await stream_state(bus))["last_seq"]
        async with relaying(log, bus, database):
            # It is killed as soon as anything arrived, which is before it heard so itself.
            await eventually(partial(has_moved, bus, log, before))
        kills += 1
    await traffic
    async with relaying(log, bus, database) as relay:
        await copied(relay, log)
    await assert_is_the_log(bus, log)


async def test_the_relay_goes_on_when_the_bus_was_killed(
    log: EventLog, bus: Bus, database: Database, nats_server: NatsServer
) -> None:
    async with relaying(log, bus, database) as relay:
        traffic = asyncio.create_task(Traffic(log, seed=3).run(60))
        await eventually(lambda: has_moved(bus, log, 0))
        await asyncio.to_thread(nats_server.kill)
        await asyncio.to_thread(nats_server.start)
        await traffic
        await copied(relay, log)
    await assert_is_the_log(bus, log)


@pytest.mark.parametrize("wipe", ["STREAM.DELETE", "STREAM.PURGE"])
async def test_a_wiped_stream_gets_the_whole_log_again(log: EventLog, bus: Bus, database: Database, wipe: str) -> None:
    async with relaying(log, bus, database) as relay:
        await Traffic(log, seed=4).run(10)
        await copied(relay, log)
        count = len(await copies(bus))
        # Seen by a relay that is idle...
        await api(bus, wipe)
        await eventually(lambda: has_messages(bus, count))
        await assert_is_the_log(bus, log)
        # ... by one that is at work ...
        await api(bus, wipe)
        await Traffic(log, seed=5).run(10)
        await eventually(lambda: has_messages(bus, count + 1))
        await copied(relay, log)
    await assert_is_the_log(bus, log)
    # ... and by one that was not there.
    await api(bus, wipe)
    async with relaying(log, bus, database) as relay:
        await copied(relay, log)
    await assert_is_the_log(bus, log)


async def test_a_stream_in_which_everything_grew_too_old_goes_on_where_it_was(
    log: EventLog, bus: Bus, database: Database
) -> None:
    config = (await api(bus, "STREAM.INFO"))["config"]
    short = {"max_age": int(timedelta(seconds=1) / timedelta(microseconds=1)) * 1000, "duplicate_window": 10**9}
    await api(bus, "STREAM.UPDATE", config | short)
    await Traffic(log, seed=6).run(10)
    async with relaying(log, bus, database) as relay:
        await copied(relay, log)
        before = await stream_state(bus)
        await eventually(lambda: has_messages(bus, 0, exactly=True))
        await noted(relay, log, database)
    async with relaying(log, bus, database) as relay:
        await copied(relay, log)
        old = await log.last_position()
        await Traffic(log, seed=7).run(3)
        await copied(relay, log)
    new = len(await log.read_log(old, 1000))
    assert (await stream_state(bus))["last_seq"] == before["last_seq"] + new


async def test_an_event_larger_than_the_bus_carries_goes_by_reference(
    log: EventLog, bus: Bus, database: Database
) -> None:
    stream = await record(log, BlockSkipped(path=PATH, reason="x" * (bus.max_payload + 1)))
    await Traffic(log, seed=8).run(2)
    async with relaying(log, bus, database) as relay:
        await copied(relay, log)
    large, *others = await copies(bus)
    assert large.headers["playhead-dataref"] == f"{stream}@1"
    assert large.body == b""
    assert len(others) == await log.last_position() - 1
    assert not any("playhead-dataref" in other.headers for other in others)


async def test_large_values_stay_in_the_log_and_are_named_by_their_digests(
    log: EventLog, bus: Bus, database: Database
) -> None:
    inputs = {"text": "i" * BLOB_BYTES}
    stream = await record(log, BlockCompleted(path=PATH, outputs="o" * BLOB_BYTES, inputs=inputs))
    async with relaying(log, bus, database) as relay:
        await copied(relay, log)
    [copy], [raw] = await copies(bus), await log.read_raw(stream)
    assert copy.body == raw.data
    assert len(copy.body) < 1000
    digests = [raw.blobs[field].digest for field in ("inputs", "outputs")]
    assert copy.headers["playhead-blobs"] == ", ".join(digests)


async def test_a_published_event_is_on_the_bus_as_what_its_author_made_it(
    log: EventLog, bus: Bus, database: Database
) -> None:
    content = {"b": [1.5, None], "a": 'quote " and 漢字'}
    published = EventPublished(
        path=PATH, event_id="e 1", event_type="refund.approved", content=content, subject="refund 7 ü"
    )
    stream = await record(log, published, EventPublished(path=PATH, event_id="e-2", event_type="plain"))
    async with relaying(log, bus, database) as relay:
        await copied(relay, log)
    first, second = await copies(bus)
    raw = (await log.read_raw(stream))[0]
    envelope = decode_envelope(raw.meta)
    assert first.subject == "playhead.evt.acme.w.published.refund.approved"
    assert msgspec.json.decode(first.body) == content
    assert own_headers(first) == {
        "ce-id": "e%201",
        "ce-source": f"/playhead/acme/{stream}",
        "ce-specversion": "1.0",
        "ce-type": "refund.approved",
        "ce-time": msgspec.to_builtins(envelope.recorded_at),
        "ce-datacontenttype": "application/json",
        "ce-subject": "refund%207%20%C3%BC",
        "ce-partitionkey": stream,
        "ce-sequence": "0000000001",
        "ce-correlationid": "request%20of%20executor-1",
        "ce-traceparent": envelope.traceparent,
        "playhead-event": envelope.id,
        "playhead-position": str(raw.position),
        "playhead-previous": "0",
        "playhead-stream": stream,
        "playhead-version": "1",
        "traceparent": envelope.traceparent,
        "Nats-Msg-Id": envelope.id,
    }
    assert second.subject == "playhead.evt.acme.w.published.plain"
    assert second.body == b"null"
    assert "ce-subject" not in second.headers


async def test_an_event_from_outside_keeps_its_source_and_time(log: EventLog, bus: Bus, database: Database) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    received = EventReceived(
        event_id="e-1",
        event_type="payment.settled",
        source="/bank a",
        content=[1, "x"],
        subject="p-1",
        time=at,
        attributes={"tier": "gold ü", "count": 7, "urgent": True, "partitionkey": "p", "dataschema": "urn:x"},
    )
    stream = StreamId("received:acme")
    await log.append(stream, GENESIS, [new_event(received, TENANTS[0], None, None)])
    async with relaying(log, bus, database) as relay:
        await copied(relay, log)
    [copy] = await copies(bus)
    assert copy.subject == "playhead.evt.acme.received.payment.settled"
    assert copy.body == b'[1,"x"]'
    told = {name: copy.headers[f"ce-{name}"] for name in ("id", "type", "source", "subject", "time")}
    assert told == {
        "id": "e-1",
        "type": "payment.settled",
        "source": "/bank%20a",
        "subject": "p-1",
        "time": "2026-01-02T03:04:05Z",
    }
    others = {name: copy.headers[f"ce-{name}"] for name in ("tier", "count", "urgent", "partitionkey", "dataschema")}
    assert others == {
        "tier": "gold%20%C3%BC",
        "count": "7",
        "urgent": "true",
        "partitionkey": "p",
        "dataschema": "urn:x",
    }
    ours = {"ce-specversion", "ce-datacontenttype", "ce-id", "ce-type", "ce-source", "ce-subject", "ce-time"}
    assert {name for name in copy.headers if name.startswith("ce-")} == ours | {f"ce-{name}" for name in others}


async def test_a_relay_that_is_killed_finds_its_place_after_a_published_event(
    log: EventLog, bus: Bus, database: Database
) -> None:
    for number in range(4):
        before = (await stream_state(bus))["last_seq"]
        events = [
            EventPublished(path=PATH, event_id=f"{number}/{n}", event_type="paid", content={"playhead-position": 1})
            for n in range(5)
        ]
        await record(log, BlockSkipped(path=PATH, reason="r"), *events)
        async with relaying(log, bus, database):
            await eventually(partial(has_moved, bus, log, before))
        # The stream now ends with a message whose id and body are not those of the log.
    async with relaying(log, bus, database) as relay:
        await copied(relay, log)
        await relay.check()
    raws, found = await log.read_log(0, 1000), await copies(bus)
    assert [copy.headers["playhead-position"] for copy in found] == [str(raw.position) for raw in raws]
    assert [copy.headers["ce-id"] for copy in found if "playhead-event" in copy.headers] == [
        f"{number}/{n}" for number in range(4) for n in range(5)
    ]
    end = await find_end(bus)
    assert (end.position, end.event_id) == (raws[-1].position, decode_envelope(raws[-1].meta).id)


@pytest.mark.parametrize(
    "odd",
    [
        EventPublished(path=BlockPath("a"), event_id="e", event_type="x" * (MAX_TYPE_LENGTH + 1)),
        EventPublished(path=BlockPath("a"), event_id="e", event_type="not a *.> subject\r\nPUB x 0"),
        EventPublished(path=BlockPath("a"), event_id="e", event_type="paid", subject="ü" * MAX_ATTRIBUTES_BYTES),
        EventReceived(event_id="e" * 100_000, event_type="paid", source="/bank"),
        EventReceived(event_id="e", event_type="paid", source="/bank", attributes={"x: 1\r\nNats-Msg-Id": "y"}),
        EventReceived(event_id="e", event_type="paid", source="/bank", attributes={"type": "dev.playhead.x"}),
    ],
    ids=["long type", "type that is no subject", "long subject", "long id", "odd attribute", "attribute of ours"],
)
async def test_an_own_event_that_the_bus_cannot_carry_goes_as_an_event_of_the_log_and_holds_up_nothing(
    log: EventLog, bus: Bus, database: Database, odd: EventData
) -> None:
    stream = await record(log, odd, BlockSkipped(path=PATH, reason="r"))
    async with relaying(log, bus, database) as relay:
        await copied(relay, log)
    await assert_is_the_log(bus, log)
    copy, _ = await copies(bus)
    assert copy.subject == f"playhead.evt.acme.w.{odd.type_name()}"
    assert copy.headers["ce-type"] == f"dev.playhead.{odd.type_name()}"
    assert copy.headers["ce-id"] == decode_envelope((await log.read_raw(stream))[0].meta).id


async def test_two_relays_take_turns(log: EventLog, bus: Bus, database: Database) -> None:
    async with relaying(log, bus, database) as first:
        await copied(first, log)
        async with relaying(log, bus, database) as second:
            await Traffic(log, seed=9).run(10)
            await copied(first, log)
            assert not second.is_writer
            await second.check()
    async with relaying(log, bus, database) as second:
        await Traffic(log, seed=10).run(10)
        await copied(second, log)
    await assert_is_the_log(bus, log)


async def test_a_batch_for_another_end_of_the_stream_is_refused(log: EventLog, bus: Bus, database: Database) -> None:
    await Traffic(log, seed=11).run(3)
    messages = [bus_message(raw, bus.max_payload) for raw in await log.read_log(0, 10)]
    end = await find_end(bus)
    await put(bus, messages[:5], end, with_ids=True)
    with pytest.raises(StreamMoved):
        await put(bus, messages[5:], end, with_ids=True)
    assert len(await copies(bus)) == 5


async def test_messages_of_others_are_passed_over(log: EventLog, bus: Bus, database: Database) -> None:
    await Traffic(log, seed=12).run(5)
    async with relaying(log, bus, database) as relay:
        await copied(relay, log)
        await bus.send("playhead.evt.acme.w.mine", b"{}", new_id())
        await Traffic(log, seed=13).run(5)
        await copied(relay, log)
    await bus.send("playhead.evt.acme.w.mine", b"{}", new_id())
    async with relaying(log, bus, database) as relay:
        await Traffic(log, seed=14).run(5)
        await copied(relay, log)
    ours = [copy.headers["playhead-position"] for copy in await copies(bus) if "playhead-position" in copy.headers]
    assert ours == [str(raw.position) for raw in await log.read_log(0, 100_000)]


async def test_the_copy_of_another_log_is_left_alone(log: EventLog, bus: Bus, database: Database) -> None:
    await Traffic(log, seed=15).run(5)
    own = [bus_message(raw, bus.max_payload) for raw in await log.read_log(0, 3)]
    foreign = [
        msgspec.structs.replace(message, headers=message.headers.replace(message.event_id, new_id())) for message in own
    ]
    await put(bus, foreign, await find_end(bus), with_ids=True)
    async with relaying(log, bus, database) as relay:

        async def why_it_stopped() -> str | None:
            try:
                await relay.check()
            except RelayStopped as stopped:
                return str(stopped)
            return None

        assert "copy of another log" in await eventually(why_it_stopped)
    assert len(await copies(bus)) == 3


async def record(log: EventLog, *facts: EventData) -> StreamId:
    """A new stream of these events."""
    execution_id = ExecutionId(new_id())
    events = [new_event(fact, TENANTS[0], WorkflowId("w"), execution_id) for fact in facts]
    await log.append(execution_stream(execution_id), GENESIS, events)
    return execution_stream(execution_id)


def own_headers(copy: Copy) -> dict[str, str]:
    """The headers without those that say where in a batch a message was."""
    return {name: value for name, value in copy.headers.items() if name == "Nats-Msg-Id" or name[:5] != "Nats-"}


async def has_moved(bus: Bus, log: EventLog, before: int) -> bool:
    last = (await stream_state(bus))["last_seq"]
    return last > before or last == await log.last_position()


async def noted(relay: Relay, log: EventLog, database: Database) -> None:
    """Wait until the position stands in the checkpoints."""
    async with open_store(database.service_url) as store:

        async def is_noted() -> bool:
            return await store.position("relay") == relay.position

        await eventually(is_noted)
