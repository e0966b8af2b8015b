"""Taking commands from the bus and answering for them.

Plain pulls rather than one framework call a message: commands are the hot path, and each is held, for as long as its
execution runs, by in-progress acks. Ack policy: ack when the log holds what the command asked for; nak with a delay
when something is unavailable; after an unexpected error the command is sent again later, with its failures counted in
itself, because a count of deliveries would punish commands for outages; after MAX_FAILURES it is a dead letter.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import AnyCommand
from playhead_contracts.errors import Unavailable
from playhead_eventlog.stopping import stop_tasks
from playhead_executor.handlers import Executor
from playhead_runtime.bus import Bus
from playhead_runtime.clock import Clock
from playhead_runtime.ids import new_id
from playhead_runtime.pull import Delivery, Puller
from playhead_runtime.spans import processing
from playhead_runtime.tracing import Tracer

log = logging.getLogger("playhead.executor")

MAX_FAILURES = 5
FETCH_SECONDS = 5.0
AGAIN_SECONDS = 1.0

_decode = msgspec.json.Decoder(AnyCommand).decode


class Subscriber:
    """The executor's share of the command consumer. `provision` makes it when it is not there (any more)."""

    def __init__(
        self,
        executor: Executor,
        bus: Bus,
        clock: Clock,
        max_executions: int,
        lease_seconds: float,
        tracer: Tracer,
        provision: Callable[[], Awaitable[None]],
    ):
        self._executor = executor
        self._bus = bus
        self._clock = clock
        self._max_executions = max_executions
        self._lease_seconds = lease_seconds
        self._tracer = tracer
        self._provision = provision
        self._held: dict[asyncio.Task[None], Delivery] = {}
        self._room = asyncio.Event()

    async def run(self, stop: asyncio.Event, grace_seconds: float) -> None:
        """Take commands until `stop`, then let what is in flight finish for up to `grace_seconds`, and hand back."""
        heartbeat = asyncio.create_task(self._keep_leases(), name="leases")
        fetching = asyncio.create_task(self._fetch_forever(), name="commands")
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({fetching, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if fetching.done():
                fetching.result()
            await stop_tasks(fetching)
            self._executor.stop()
            if self._held:
                await asyncio.wait(set(self._held), timeout=grace_seconds)
        finally:
            left = list(self._held.items())
            await stop_tasks(*(task for task, _ in left))
            for _, delivery in left:
                await delivery.nak()
            stopped.cancel()
            await stop_tasks(heartbeat, fetching)

    async def _fetch_forever(self) -> None:
        puller: Puller | None = None
        while True:
            try:
                puller = puller or await self._bus.pull(subjects.COMMANDS_STREAM, subjects.EXECUTOR_CONSUMER)
                await self._wait_for_room()
                room = self._max_executions - len(self._held)
                for delivery in await puller.fetch(min(room, 256), FETCH_SECONDS):
                    self._take(delivery)
            except Unavailable as unavailable:
                log.warning("no commands", extra={"reason": str(unavailable)})
                await asyncio.sleep(AGAIN_SECONDS)
                await self._provision_again()

    async def _provision_again(self) -> None:
        try:
            await self._provision()
        except Unavailable as unavailable:
            log.warning("bus not ready", extra={"reason": str(unavailable)})

    async def _wait_for_room(self) -> None:
        while len(self._held) >= self._max_executions:
            self._room.clear()
            await self._room.wait()

    def _take(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._answer_for(delivery), name="command")
        self._held[task] = delivery
        task.add_done_callback(self._let_go)

    def _let_go(self, task: asyncio.Task[None]) -> None:
        self._held.pop(task, None)
        self._room.set()

    async def _answer_for(self, delivery: Delivery) -> None:
        try:
            command = _decode(delivery.data)
        except msgspec.DecodeError as undecodable:
            await self._give_up(delivery, "unknown", f"not a command: {undecodable}")
            return
        try:
            with processing(
                self._tracer,
                delivery.subject,
                command.id,
                command.traceparent or delivery.headers.get("traceparent"),
                execution_id=command.execution_id,
                consumer=subjects.EXECUTOR_CONSUMER,
            ):
                verdict = await self._executor.handle(command, first_delivery=delivery.num_delivered == 1)
        except Unavailable as unavailable:
            log.warning("command put off", extra={"command": command.id, "reason": str(unavailable)})
            await delivery.nak(AGAIN_SECONDS)
            return
        except Exception as unexpected:  # noqa: BLE001 - the edge: counted, told, sent again, never swallowed
            await self._failed(delivery, command, unexpected)
            return
        if verdict.given_up is not None:
            await self._give_up(delivery, command.kind(), verdict.given_up)
        elif verdict.done:
            await delivery.ack()
        elif not verdict.keep_silent:
            await delivery.nak(verdict.again_in_seconds)

    async def _failed(self, delivery: Delivery, command: AnyCommand, error: Exception) -> None:
        failures = command.failures + 1
        text = f"{type(error).__name__}: {error}"
        extra = {"command": command.id, "execution_id": command.execution_id, "failures": failures}
        log.error("command failed", extra=extra, exc_info=error)
        try:
            if failures >= MAX_FAILURES:
                told = await self._executor.dead_letter(command, failures, text)
                await self._give_up(delivery, command.kind(), told)
                return
            again = msgspec.structs.replace(command, failures=failures)
            due = self._clock.now() + timedelta(seconds=AGAIN_SECONDS * 2 ** (failures - 1))
            await self._bus.schedule(
                subjects.timer(command.tenant, f"again-{new_id()}"),
                delivery.subject,
                due,
                msgspec.json.encode(again),
                f"{command.id}:again:{failures}:{delivery.stream_seq}",
            )
            await delivery.ack()
        except Unavailable as unavailable:
            log.warning("failed command put off", extra={"command": command.id, "reason": str(unavailable)})
            await delivery.nak(AGAIN_SECONDS)

    async def _give_up(self, delivery: Delivery, kind: str, error: str) -> None:
        """Keep the command with its error as a dead letter, for an operator to look at and to re-drive."""
        tenant = delivery.subject.split(".")[2]
        headers = {"playhead-error": error.encode("ascii", "backslashreplace").decode()[:1000].replace("\n", " ")}
        await self._bus.send(
            subjects.dead_letter(tenant, kind),  # pyright: ignore[reportArgumentType]
            delivery.data,
            f"dlq:{delivery.stream_seq}",
            {**headers, "playhead-subject": delivery.subject},
        )
        await delivery.term(error.replace("\n", " ")[:200])

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            for delivery in list(self._held.values()):
                await delivery.in_progress()
