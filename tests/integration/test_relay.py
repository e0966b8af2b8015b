"""The copy of the log on the bus: each event once, in order, whatever is killed or wiped."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial

import msgspec
import pytest

from playhead_contracts.events import ExecutionCreated, decode_envelope
from playhead_contracts.ids import ExecutionId, WorkflowId, execution_stream
from playhead_eventlog import GENESIS, EventLog, open_log, open_tail
from playhead_projector.bus_copy import bus_message
from playhead_projector.bus_stream import StreamMoved, find_end, put
from playhead_projector.relay import Relay, RelayStopped
from playhead_projector.store import open_store
from playhead_runtime.bus import Bus
from playhead_runtime.embedded_nats import NatsServer
from playhead_runtime.ids import new_id
from playhead_runtime.provision import provision_events
from tests.conftest import Database
from tests.derived import api, assert_is_the_log, copies, stream_state
from tests.system import eventually
from tests.traffic import TENANTS, Traffic, new_event


@pytest.fixture
async def log(database: Database) -> AsyncGenerator[EventLog]:
    async with open_log(database.service_url) as log:
        yield log


@asynccontextmanager
async def relaying(log: EventLog, bus: Bus, database: Database) -> AsyncGenerator[Relay]:
    async with open_tail(log, database.service_url) as tail:
        relay = Relay(log, tail, bus, database.service_url, lambda: provision_events(bus))
        task = asyncio.create_task(relay.run())
        try:
            yield relay
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def copied(relay: Relay, log: EventLog) -> None:
    """Wait until the relay says that the whole log is on the bus."""

    async def is_there() -> bool:
        return relay.is_writer and await relay.lag() == 0

    await eventually(is_there)


async def test_the_copy_is_the_log_in_order_as_cloud_events(log: EventLog, bus: Bus, database: Database) -> None:
    traffic = Traffic(log)
    await traffic.publish(WorkflowId("refunds"))
    async with relaying(log, bus, database) as relay:
        await traffic.run(20)
        await copied(relay, log)
        await relay.check()
    await assert_is_the_log(bus, log)
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
            "ce-subject": raw.stream_id,
            "ce-partitionkey": raw.stream_id,
            "ce-sequence": f"{raw.version:010}",
            "ce-correlationid": (envelope.correlation_id or "").replace(" ", "%20"),
            "playhead-position": str(raw.position),
            "playhead-version": str(raw.version),
            "traceparent": envelope.traceparent,
            "Nats-Msg-Id": envelope.id,
        }
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
    execution_id = ExecutionId(new_id())
    stream = execution_stream(execution_id)
    created = ExecutionCreated(
        workflow_id=WorkflowId("w"), workflow_version=1, digest="d", input="x" * (bus.max_payload + 1)
    )
    await log.append(stream, GENESIS, [new_event(created, TENANTS[0], WorkflowId("w"), execution_id)])
    await Traffic(log, seed=8).run(2)
    async with relaying(log, bus, database) as relay:
        await copied(relay, log)
    large, *others = await copies(bus)
    assert large.headers["playhead-dataref"] == f"{stream}@1"
    assert large.body == b""
    assert len(others) == await log.last_position() - 1
    assert not any("playhead-dataref" in other.headers for other in others)


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


async def has_moved(bus: Bus, log: EventLog, before: int) -> bool:
    last = (await stream_state(bus))["last_seq"]
    return last > before or last == await log.last_position()


async def has_messages(bus: Bus, count: int, exactly: bool = False) -> bool:
    messages = (await stream_state(bus)).get("messages", -1)
    return messages == count if exactly else messages >= count


async def noted(relay: Relay, log: EventLog, database: Database) -> None:
    """Wait until the position stands in the checkpoints."""
    async with open_store(database.service_url) as store:

        async def is_noted() -> bool:
            return await store.position("relay") == relay.position

        await eventually(is_noted)
