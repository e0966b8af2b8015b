"""The bus on a real nats-server: what is acknowledged stays, what is away comes back, who asks gets told."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from playhead_contracts import subjects
from playhead_contracts.ids import TenantId
from playhead_runtime.bus import (
    Bus,
    BusRejected,
    BusUnavailable,
    Delivery,
    Message,
    MessageTooLarge,
    NoAnswer,
    NobodyThere,
    Puller,
    connect_bus,
)
from playhead_runtime.embedded_nats import NatsServer
from playhead_runtime.provision import provision

ACME = TenantId("acme")
RUN = subjects.execution_command(ACME, "run")
TIMER = subjects.timer(ACME, "t1")


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.01)


async def commands(bus: Bus) -> Puller:
    return await bus.pull(subjects.COMMANDS_STREAM, subjects.EXECUTOR_CONSUMER)


async def take(puller: Puller, n: int) -> list[Delivery]:
    """Exactly `n` deliveries, acknowledged."""
    taken: list[Delivery] = []
    async with asyncio.timeout(10):
        while len(taken) < n:
            taken += await puller.fetch(n - len(taken), 5.0)
    for delivery in taken:
        await delivery.ack()
    return taken


async def stored(bus: Bus, stream: str = subjects.COMMANDS_STREAM) -> int:
    """How many messages the stream holds; also right after a restart, before the connection is known to be
    broken.
    """
    async with asyncio.timeout(10):
        while True:
            with suppress(BusUnavailable):
                answer = msgspec.json.decode(await bus.api(f"STREAM.INFO.{stream}", b""))
                return int(answer["state"]["messages"])
            await asyncio.sleep(0.01)


async def until_empty(bus: Bus) -> None:
    """Acks are sent, not confirmed: the stream is empty a moment later."""

    async def is_empty() -> bool:
        return await stored(bus) == 0

    await until(is_empty)


class TestSending:
    async def test_a_sent_command_is_delivered_with_its_headers(self, bus: Bus) -> None:
        assert await bus.send(RUN, b"go", "m1", {"traceparent": "00-1"}) is False
        [delivery] = await take(await commands(bus), 1)
        assert (delivery.subject, delivery.data, delivery.num_delivered) == (RUN, b"go", 1)
        assert delivery.stream_seq == 1
        assert delivery.headers["traceparent"] == "00-1"

    async def test_the_same_message_id_again_is_a_duplicate_and_not_stored(self, bus: Bus) -> None:
        await bus.send(RUN, b"go", "m1")
        assert await bus.send(RUN, b"go", "m1") is True
        assert await stored(bus) == 1

    async def test_send_soon_stores_without_waiting(self, bus: Bus) -> None:
        await bus.send_soon(RUN, b"go", "m1")
        assert [d.data for d in await take(await commands(bus), 1)] == [b"go"]

    async def test_a_subject_that_no_stream_owns_is_unavailable(self, bus: Bus) -> None:
        with pytest.raises(BusUnavailable, match="nobody answers"):
            await bus.send("playhead.nowhere", b"", "m1", timeout_seconds=0.3)

    async def test_a_message_that_can_never_be_stored_is_rejected_at_once(self, bus: Bus) -> None:
        with pytest.raises(BusRejected):
            await bus.send(TIMER, b"", "m1", {"Nats-Schedule": "@nonsense", "Nats-Schedule-Target": RUN})

    async def test_a_message_over_the_limit_of_the_servers_is_refused(self, bus: Bus) -> None:
        with pytest.raises(MessageTooLarge):
            await bus.send(RUN, bytes(9 << 20), "m1")
        with pytest.raises(MessageTooLarge):
            await bus.publish("playhead.live.a.b", bytes(9 << 20))

    async def test_a_send_while_the_server_restarts_arrives_once(self, bus: Bus, nats_server: NatsServer) -> None:
        nats_server.kill()
        sending = asyncio.create_task(bus.send(RUN, b"go", "m1"))
        nats_server.start()
        await sending
        assert await stored(bus) == 1

    async def test_many_sends_during_a_kill_are_all_stored_exactly_once(
        self, bus: Bus, nats_server: NatsServer
    ) -> None:
        sends = [asyncio.create_task(bus.send(RUN, b"%d" % n, f"m{n}")) for n in range(300)]
        await sends[50]
        nats_server.kill()
        nats_server.start()
        await asyncio.gather(*sends)
        assert await stored(bus) == 300

    async def test_publishing_never_fails_while_the_bus_is_away(self, bus: Bus, nats_server: NatsServer) -> None:
        nats_server.kill()
        async with asyncio.timeout(10):
            for _ in range(40):
                await bus.publish("playhead.live.acme.x", bytes(1 << 20))
            await bus.send_soon(RUN, bytes(1 << 20), "m1")


class TestPulling:
    async def test_an_acknowledged_message_survives_kill_9_of_the_server(
        self, bus: Bus, nats_server: NatsServer
    ) -> None:
        for n in range(20):
            await bus.send(RUN, b"%d" % n, f"m{n}")
        nats_server.kill()
        nats_server.start()
        assert len(await take(await commands(bus), 20)) == 20

    async def test_a_fetch_gives_what_is_there_at_once_and_nothing_when_nothing_comes(self, bus: Bus) -> None:
        puller = await commands(bus)
        await bus.send(RUN, b"1", "m1")
        await bus.send(RUN, b"2", "m2")
        began = time.monotonic()
        assert len(await puller.fetch(10, 5.0)) == 2
        assert time.monotonic() - began < 1.0
        assert await puller.fetch(10, 0.05) == []

    async def test_a_waiting_fetch_returns_with_the_first_message(self, bus: Bus) -> None:
        puller = await commands(bus)
        waiting = asyncio.create_task(puller.fetch(10, 10.0))
        began = time.monotonic()
        await bus.send(RUN, b"1", "m1")
        assert len(await waiting) == 1
        assert time.monotonic() - began < 1.0

    async def test_a_waiting_fetch_goes_on_over_a_restart_of_the_server(
        self, bus: Bus, nats_server: NatsServer
    ) -> None:
        puller = await commands(bus)
        waiting = asyncio.create_task(puller.fetch(10, 30.0))
        nats_server.kill()
        nats_server.start()
        await bus.send(RUN, b"1", "m1")
        assert [d.data for d in await asyncio.wait_for(waiting, 5)] == [b"1"]

    async def test_no_message_is_lost_when_a_fetch_is_over_before_it_arrives(self, bus: Bus) -> None:
        puller = await commands(bus)
        assert await puller.fetch(5, 0.01) == []
        for n in range(50):
            await bus.send(RUN, b"%d" % n, f"m{n}")
        assert len({d.data for d in await take(puller, 50)}) == 50

    async def test_a_nak_brings_the_message_back_after_its_delay(self, bus: Bus) -> None:
        puller = await commands(bus)
        await bus.send(RUN, b"1", "m1")
        [first] = await puller.fetch(1, 1.0)
        began = time.monotonic()
        await first.nak(0.2)
        [second] = await puller.fetch(1, 5.0)
        assert second.num_delivered == 2
        assert time.monotonic() - began >= 0.2

    async def test_a_message_in_progress_is_kept_and_one_left_alone_comes_again(self, bus: Bus) -> None:
        await provision(bus, ack_wait_seconds=0.5)
        puller = await commands(bus)
        await bus.send(RUN, b"1", "m1")
        [held] = await puller.fetch(1, 1.0)
        began = time.monotonic()
        while time.monotonic() - began < 1.2:
            await held.in_progress()
            assert await puller.fetch(1, 0.2) == []
        [again] = await puller.fetch(1, 5.0)
        assert again.num_delivered == 2

    async def test_a_terminated_message_never_comes_again_and_its_reason_is_told(self, bus: Bus) -> None:
        puller = await commands(bus)
        advisory = "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>"
        async with await bus.subscribe(advisory) as advisories:
            await bus.send(RUN, b"1", "m1")
            [delivery] = await puller.fetch(1, 1.0)
            await delivery.term("no good")
            told = await asyncio.wait_for(anext(aiter(advisories)), 5)
        assert b'"reason":"no good"' in told.data
        await until_empty(bus)

    async def test_a_missing_consumer_is_unavailable_and_provisioning_brings_it_back(self, bus: Bus) -> None:
        puller = await commands(bus)
        await bus.api(f"STREAM.DELETE.{subjects.COMMANDS_STREAM}", b"")
        with pytest.raises(BusUnavailable, match="executor"):
            await puller.fetch(1, 1.0)
        await provision(bus)
        await bus.send(RUN, b"1", "m1")
        assert len(await take(puller, 1)) == 1


class TestSchedules:
    async def test_a_schedule_fires_not_before_it_is_due(self, bus: Bus) -> None:
        due = datetime.now(UTC) + timedelta(seconds=0.5)
        await bus.schedule(TIMER, subjects.execution_command(ACME, "wake"), due, b"wake up", "s1")
        [fired] = await take(await commands(bus), 1)
        assert fired.subject == subjects.execution_command(ACME, "wake")
        assert fired.data == b"wake up"
        assert datetime.now(UTC) >= due

    async def test_a_schedule_in_the_past_fires_at_once(self, bus: Bus) -> None:
        await bus.schedule(TIMER, RUN, datetime.now(UTC) - timedelta(days=1), b"late", "s1")
        assert [d.data for d in await take(await commands(bus), 1)] == [b"late"]

    async def test_a_later_schedule_takes_the_place_of_an_earlier_one(self, bus: Bus) -> None:
        now = datetime.now(UTC)
        await bus.schedule(TIMER, RUN, now + timedelta(hours=1), b"first", "s1")
        await bus.schedule(TIMER, RUN, now, b"second", "s2")
        assert [d.data for d in await take(await commands(bus), 1)] == [b"second"]
        await until_empty(bus)

    async def test_an_unscheduled_timer_is_gone_and_taking_it_back_twice_is_harmless(self, bus: Bus) -> None:
        await bus.schedule(TIMER, RUN, datetime.now(UTC) + timedelta(hours=1), b"", "s1")
        await bus.unschedule(TIMER)
        await bus.unschedule(TIMER)
        assert await stored(bus) == 0

    async def test_a_timer_due_while_the_server_was_down_fires_after_the_restart(
        self, bus: Bus, nats_server: NatsServer
    ) -> None:
        due = datetime.now(UTC) + timedelta(seconds=0.3)
        await bus.schedule(TIMER, RUN, due, b"wake", "s1")
        nats_server.kill()

        async def is_due() -> bool:
            return datetime.now(UTC) > due

        await until(is_due)
        nats_server.start()
        assert [d.data for d in await take(await commands(bus), 1)] == [b"wake"]


class TestAsking:
    async def test_no_responders_raises_nobody_there(self, bus: Bus) -> None:
        with pytest.raises(NobodyThere):
            await bus.request("playhead.rpc.nobody", b"", 5.0)

    async def test_requests_are_answered_each_in_its_own_task(self, bus: Bus) -> None:
        together = asyncio.Barrier(10)

        async def handler(data: bytes) -> bytes:
            await together.wait()
            return data.upper()

        await bus.serve("playhead.rpc.echo", handler)
        answers = await asyncio.gather(*(bus.request("playhead.rpc.echo", b"x%d" % n, 5.0) for n in range(10)))
        assert answers == [b"X%d" % n for n in range(10)]

    async def test_a_silent_server_raises_no_answer(self, bus: Bus) -> None:
        async def silent(_: Message) -> None: ...

        await bus.listen("playhead.rpc.silent", silent)
        with pytest.raises(NoAnswer):
            await bus.request("playhead.rpc.silent", b"", 0.05)

    async def test_a_handler_that_raises_gives_no_answer_at_once(self, bus: Bus) -> None:
        async def broken(_: bytes) -> bytes:
            raise KeyError("x")

        await bus.serve("playhead.rpc.broken", broken)
        with pytest.raises(NoAnswer, match="KeyError"):
            await bus.request("playhead.rpc.broken", b"", 30.0)

    async def test_one_of_a_queue_gets_each_request(self, bus: Bus, nats_url: str) -> None:
        served: list[str] = []

        async def one(_: bytes) -> bytes:
            served.append("one")
            return b""

        async def two(_: bytes) -> bytes:
            served.append("two")
            return b""

        async with connect_bus(nats_url, "other") as other:
            await bus.serve("playhead.rpc.shared", one, "q")
            await other.serve("playhead.rpc.shared", two, "q")
            await other.check()
            for _ in range(40):
                await bus.request("playhead.rpc.shared", b"", 5.0)
        assert len(served) == 40
        assert set(served) == {"one", "two"}

    async def test_a_request_in_flight_is_told_when_the_connection_breaks(
        self, bus: Bus, nats_server: NatsServer
    ) -> None:
        arrived = asyncio.Event()

        async def never(_: bytes) -> bytes:
            arrived.set()
            await asyncio.Event().wait()
            return b""

        await bus.serve("playhead.rpc.never", never)
        asking = asyncio.create_task(bus.request("playhead.rpc.never", b"", 60.0))
        await arrived.wait()
        nats_server.kill()
        with pytest.raises(NoAnswer, match="broke"):
            await asyncio.wait_for(asking, 5)


class TestSubscribing:
    async def test_messages_come_in_order_until_unsubscribed(self, bus: Bus) -> None:
        subscription = await bus.subscribe("playhead.live.acme.*")
        for n in range(3):
            await bus.publish("playhead.live.acme.x", b"%d" % n, {"n": str(n)})
        got: list[bytes] = []
        async for message in subscription:
            got.append(message.data)
            if len(got) == 3:
                assert message.headers == {"n": "2"}
                await subscription.unsubscribe()
                await subscription.unsubscribe()
        assert got == [b"0", b"1", b"2"]

    async def test_a_subscription_goes_on_over_a_restart_of_the_server(self, bus: Bus, nats_server: NatsServer) -> None:
        got = asyncio.Event()

        async def on_message(_: Message) -> None:
            got.set()

        await bus.listen("playhead.live.>", on_message)
        again = asyncio.Event()
        bus.on_reconnect(again.set)
        nats_server.kill()
        nats_server.start()
        await asyncio.wait_for(again.wait(), 10)
        await bus.publish("playhead.live.acme.x", b"")
        await asyncio.wait_for(got.wait(), 5)

    async def test_closing_the_bus_ends_iteration(self, nats_url: str) -> None:
        async with connect_bus(nats_url, "closing") as bus:
            subscription = await bus.subscribe("playhead.live.>")

            async def read() -> int:
                return len([message async for message in subscription])

            reading = asyncio.create_task(read())
            await bus.check()
        assert await asyncio.wait_for(reading, 5) == 0


class TestConnecting:
    async def test_no_server_at_start_is_unavailable_and_no_password_is_shown(self) -> None:
        with pytest.raises(BusUnavailable, match=r"127\.0\.0\.1:1") as caught:
            async with connect_bus("nats://me:hunter2@127.0.0.1:1", "x", wait_seconds=0.3):
                pass
        assert "hunter2" not in str(caught.value)

    async def test_a_server_that_comes_a_little_later_is_waited_for(self, nats_server: NatsServer) -> None:
        nats_server.stop()

        async def connect() -> bool:
            async with connect_bus(nats_server.url, "x") as bus:
                return bus.is_connected

        connecting = asyncio.create_task(connect())
        await asyncio.sleep(0)
        nats_server.start()
        assert await connecting

    async def test_a_wrong_password_is_said(self, nats_server: NatsServer) -> None:
        with pytest.raises(BusUnavailable, match="Authorization"):
            async with connect_bus(
                f"nats://127.0.0.1:{nats_server.port}",
                "x",
                user="playhead",
                password="wrong",
                wait_seconds=0.5,
            ):
                pass

    async def test_closing_never_hangs_though_the_server_is_gone_and_a_pull_is_open(
        self, nats_server: NatsServer
    ) -> None:
        async with connect_bus(nats_server.url, "x") as bus:
            await provision(bus)
            puller = await commands(bus)
            assert await puller.fetch(5, 0.05) == []
            waiting = asyncio.create_task(puller.fetch(5, 60.0))
            await asyncio.sleep(0)
            nats_server.kill()
            began = time.monotonic()
        assert time.monotonic() - began < 5.0
        waiting.cancel()

    async def test_provisioning_from_many_processes_at_once_and_again_changes_nothing(self, bus: Bus) -> None:
        await bus.send(RUN, b"1", "m1")
        await asyncio.gather(*(provision(bus) for _ in range(8)))
        assert await stored(bus) == 1

    async def test_a_check_fails_while_the_server_is_away_and_holds_after(
        self, bus: Bus, nats_server: NatsServer
    ) -> None:
        await bus.check()
        nats_server.kill()
        with pytest.raises(BusUnavailable):
            await bus.check()
        nats_server.start()

        async def is_well() -> bool:
            try:
                await bus.check()
            except BusUnavailable:
                return False
            return True

        await until(is_well)
