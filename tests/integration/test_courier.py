"""Facts are carried between executions, each exactly once, whatever stops in between."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
import psycopg
import pytest

from playhead_contracts import subjects
from playhead_contracts.commands import AnyCommand, Wake
from playhead_contracts.errors import VersionConflict
from playhead_contracts.events import (
    BlockCompleted,
    BlockError,
    BlockFailed,
    BlockRetryScheduled,
    BlockSkipped,
    BlockStarted,
    ChildEnded,
    ChildPaused,
    ChildResumed,
    ChildStarted,
    Event,
    EventData,
    EventMatched,
    EventPublished,
    EventReceived,
    ExecutionCancelled,
    ExecutionCancelRequested,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionTimedOut,
    Parent,
    Watch,
    WatchedEvent,
    decode_joined,
)
from playhead_contracts.ids import (
    BlockPath,
    EventId,
    ExecutionId,
    PauseId,
    StreamId,
    TenantId,
    WorkflowId,
    event_stream,
    execution_stream,
)
from playhead_engine.folding import fold
from playhead_engine.state import ExecutionState
from playhead_eventlog import BLOB_BYTES, GENESIS, EventLog, open_tail
from playhead_eventlog.stopping import stop_tasks
from playhead_projector.app import serve as serve_projector
from playhead_projector.courier import Courier
from playhead_projector.settings import Settings as ProjectorSettings
from playhead_runtime.bus import Bus
from playhead_runtime.clock import Clock
from playhead_runtime.ids import new_id
from playhead_runtime.subscription import Subscription
from tests.conftest import Database
from tests.system import TENANT, System, block, eventually
from tests.traffic import new_event

PAY = BlockPath("pay")
WORKFLOW = WorkflowId("refunds")
GLOBEX = TenantId("globex")


class Scene:
    """Writes what executors and the gateway would write."""

    def __init__(self, log: EventLog):
        self.log = log

    async def begin(
        self, *facts: EventData, parent: Parent | None = None, tenant: TenantId = TENANT, id: ExecutionId | None = None
    ) -> ExecutionId:
        """An execution that runs, and where `facts` are true."""
        execution_id = id or ExecutionId(new_id())
        created = ExecutionCreated(workflow_id=WORKFLOW, workflow_version=1, digest="d", parent=parent)
        claim = ExecutionStarted(executor="nobody", epoch=1, command="run")
        await self._append(execution_stream(execution_id), GENESIS, (created, claim, *facts), tenant, execution_id)
        return execution_id

    async def write(self, execution_id: ExecutionId, *facts: EventData) -> None:
        while True:
            events, head = await self.log.load(execution_stream(execution_id))
            tenant = events[0].envelope.tenant
            with suppress(VersionConflict):
                return await self._append(execution_stream(execution_id), head, facts, tenant, execution_id)

    async def receive(self, kind: str, content: Any = None, tenant: TenantId = TENANT) -> int:
        """An event from outside; its position."""
        event_id = EventId(new_id())
        data = EventReceived(event_id=f"given-{event_id}", event_type=kind, source="/bank", content=content)
        stream = event_stream(tenant, event_id)
        await self._append(stream, GENESIS, (data,), tenant, None)
        return (await self.log.read_raw(stream, 0, 1))[0].position

    async def parent_of(self, child: ExecutionId) -> ExecutionId:
        """An execution whose block `pay` waits for this child."""
        return await self.begin(BlockStarted(path=PAY, child=child), ChildStarted(path=PAY, child=child))

    async def wait(
        self,
        *events: WatchedEvent,
        need: Literal["any", "all"] = "any",
        tenant: TenantId = TENANT,
        **watch: Any,
    ) -> ExecutionId:
        """An execution whose block `pay` waits for events."""
        return await self.begin(waiting(*events, need=need, **watch), tenant=tenant)

    async def events(self, execution_id: ExecutionId) -> list[Event]:
        return await self.log.read(execution_stream(execution_id))

    async def told(self, execution_id: ExecutionId) -> list[EventData]:
        """What the courier brought, in order."""
        return [event.data for event in await self.events(execution_id) if event.envelope.actor.name == "courier"]

    async def matched(self, execution_id: ExecutionId) -> list[tuple[int, Any]]:
        """Which events came for a wait: number and data."""
        told = await self.told(execution_id)
        return [(fact.event.number, fact.event.data) for fact in told if isinstance(fact, EventMatched)]

    async def state(self, execution_id: ExecutionId) -> ExecutionState:
        state = fold(await self.events(execution_id))
        assert state is not None
        return state

    async def _append(
        self, stream: StreamId, head: Any, facts: tuple[EventData, ...], tenant: TenantId, id: ExecutionId | None
    ) -> None:
        workflow = None if id is None else WORKFLOW
        await self.log.append(stream, head, [new_event(fact, tenant, workflow, id) for fact in facts])


def waiting(*events: WatchedEvent, need: Literal["any", "all"] = "any", attempt: int = 1, **watch: Any) -> BlockStarted:
    return BlockStarted(path=PAY, attempt=attempt, watch=Watch(events=events, need=need, **watch))


def order(number: int) -> WatchedEvent:
    return WatchedEvent(type="payment.settled", match=f"event.data.order == {number}")


@pytest.fixture
def scene(client: System) -> Scene:
    return Scene(client.log)


@asynccontextmanager
async def carrying(log: EventLog, bus: Bus, database: Database) -> AsyncGenerator[Courier]:
    async with open_tail(log, database.service_url) as tail:
        courier = Courier(log, tail, bus, database.service_url, Clock())
        task = asyncio.create_task(courier.run())
        try:
            yield courier
        finally:
            await stop_tasks(task)


@pytest.fixture
async def courier(client: System, database: Database) -> AsyncGenerator[Courier]:
    async with carrying(client.log, client.bus, database) as courier:
        yield courier


async def carried(courier: Courier) -> None:
    """Wait until the courier has looked at all there is, what it appended itself included."""

    async def is_there() -> bool:
        await courier.check()
        return courier.is_writer and await courier.lag() == 0 and courier.catching_up == 0

    await eventually(is_there)


async def first(subscription: Subscription) -> bytes:
    async with asyncio.timeout(30):
        return (await anext(aiter(subscription))).data


async def forget_everything(database: Database) -> None:
    async with await psycopg.AsyncConnection.connect(database.service_url, autocommit=True) as connection:
        await connection.execute("delete from read.open_watches")
        await connection.execute("delete from read.checkpoints where projection = 'courier'")


ERROR = BlockError(type="odd", message="it broke")
LATE = datetime(2026, 3, 1, tzinfo=UTC)


def ends(parent: Parent) -> dict[str, tuple[EventData, str, Any, str | None]]:
    """How a child ends, and what its parent is told: status, outputs, type of error."""
    return {
        "completed": (ExecutionCompleted(output={"ok": 1}, parent=parent), "completed", {"ok": 1}, None),
        "failed": (ExecutionFailed(error=ERROR, parent=parent), "failed", None, "odd"),
        "cancelled": (ExecutionCancelled(reason="enough", parent=parent), "cancelled", None, "cancelled"),
        "timed out": (ExecutionTimedOut(deadline=LATE, parent=parent), "timed_out", None, "timed_out"),
    }


@pytest.mark.parametrize("how", ["completed", "failed", "cancelled", "timed out"])
async def test_a_parent_is_told_once_how_its_child_ended(scene: Scene, courier: Courier, how: str) -> None:
    child = ExecutionId(new_id())
    parent = await scene.parent_of(child)
    end, status, outputs, error = ends(Parent(parent, PAY))[how]
    await scene.begin(end, parent=Parent(parent, PAY), id=child)
    await carried(courier)
    [told] = await scene.told(parent)
    assert isinstance(told, ChildEnded)
    assert (told.path, told.child, told.status, told.outputs) == (PAY, child, status, outputs)
    assert (told.error and told.error.type) == error
    known = block(await scene.state(parent), "pay").child
    assert known is not None
    assert known.status == status


async def test_a_parent_is_told_when_its_child_asks_people_and_goes_on(scene: Scene, courier: Courier) -> None:
    child, pause = ExecutionId(new_id()), PauseId(new_id())
    parent = await scene.parent_of(child)
    kin = Parent(parent, PAY)
    await scene.begin(ExecutionPaused(epoch=1, pauses=(pause,), parent=kin), parent=kin, id=child)
    await scene.write(child, ExecutionResumed(executor="e", epoch=2, command="c", parent=kin))
    await scene.write(child, ExecutionPaused(epoch=2))  # for a timer: nobody is asked
    await carried(courier)
    assert await scene.told(parent) == [
        ChildPaused(path=PAY, child=child, pauses=(pause,)),
        ChildResumed(path=PAY, child=child),
    ]


async def test_a_child_that_ends_before_its_parent_knows_that_it_began_is_told_too(
    scene: Scene, courier: Courier
) -> None:
    child = ExecutionId(new_id())
    parent = await scene.begin(BlockStarted(path=PAY, child=child))
    kin = Parent(parent, PAY)
    await scene.begin(ExecutionCompleted(output=1, parent=kin), parent=kin, id=child)
    await carried(courier)
    await scene.write(parent, ChildStarted(path=PAY, child=child))
    known = block(await scene.state(parent), "pay").child
    assert known is not None
    assert (known.status, known.outputs) == ("completed", 1)


async def test_a_large_output_arrives_whole(scene: Scene, courier: Courier) -> None:
    child, large = ExecutionId(new_id()), "x" * (BLOB_BYTES + 1)
    parent = await scene.parent_of(child)
    kin = Parent(parent, PAY)
    await scene.begin(ExecutionCompleted(output=large, parent=kin), parent=kin, id=child)
    await carried(courier)
    [told] = await scene.told(parent)
    assert isinstance(told, ChildEnded)
    assert told.outputs == large


GIVEN_UP: dict[str, EventData] = {
    "its block fails": BlockFailed(path=PAY, error=ERROR, handled=True),
    "its block is skipped": BlockSkipped(path=PAY, reason="cancelled"),
    "its block is tried again": BlockRetryScheduled(path=PAY, attempt=1, error=ERROR, due_at=LATE),
}


@pytest.mark.parametrize("why", GIVEN_UP)
async def test_a_child_is_cancelled_once_when_its_parent_gives_it_up(scene: Scene, courier: Courier, why: str) -> None:
    child = ExecutionId(new_id())
    parent = await scene.parent_of(child)
    await scene.begin(parent=Parent(parent, PAY), id=child)
    await carried(courier)
    assert await scene.told(child) == []
    await scene.write(parent, msgspec.structs.replace(GIVEN_UP[why], child=child))
    await carried(courier)
    [told] = await scene.told(child)
    assert isinstance(told, ExecutionCancelRequested)
    stop = (await scene.state(child)).stop
    assert stop is not None
    assert stop.kind == "cancel"


async def test_a_child_that_begins_after_it_was_given_up_is_cancelled(scene: Scene, courier: Courier) -> None:
    child = ExecutionId(new_id())
    parent = await scene.begin(BlockStarted(path=PAY, child=child))
    await scene.write(parent, BlockFailed(path=PAY, error=ERROR, handled=True, child=child))
    await carried(courier)
    await scene.begin(parent=Parent(parent, PAY), id=child)
    await carried(courier)
    [told] = await scene.told(child)
    assert isinstance(told, ExecutionCancelRequested)


async def test_a_child_that_nobody_waits_for_goes_its_own_way(scene: Scene, courier: Courier) -> None:
    child = ExecutionId(new_id())
    parent = await scene.begin(BlockStarted(path=PAY, child=child))
    await scene.write(parent, BlockCompleted(path=PAY, outputs={"execution_id": child}))
    kin = Parent(parent, PAY)
    await scene.begin(parent=kin, id=child)
    await scene.write(child, ExecutionCompleted(parent=kin))
    await carried(courier)
    assert await scene.told(child) == []
    assert await scene.told(parent) == []


async def test_what_is_no_longer_wanted_is_dropped(scene: Scene, courier: Courier) -> None:
    ended, unknown, other = ExecutionId(new_id()), ExecutionId(new_id()), ExecutionId(new_id())
    parent = await scene.parent_of(ended)
    await scene.write(parent, ExecutionFailed(error=ERROR))
    busy = await scene.parent_of(other)
    for child, kin in ((ended, parent), (unknown, ExecutionId(new_id())), (ExecutionId(new_id()), busy)):
        await scene.begin(ExecutionCompleted(parent=Parent(kin, PAY)), parent=None, id=child)
    await scene.write(busy, BlockFailed(path=PAY, error=ERROR, handled=True, child=ended))
    await carried(courier)
    assert [await scene.told(each) for each in (parent, busy, ended)] == [[], [], []]


async def test_facts_arrive_while_their_execution_is_at_work(scene: Scene, courier: Courier) -> None:
    children = [ExecutionId(new_id()) for _ in range(20)]
    paths = [BlockPath(f"b{number}") for number in range(20)]
    parent = await scene.begin(
        *(BlockStarted(path=path, child=child) for path, child in zip(paths, children, strict=True))
    )

    async def work() -> None:
        for number in range(60):
            await scene.write(parent, BlockSkipped(path=BlockPath(f"s{number}"), reason="test"))

    async def end(child: ExecutionId, path: BlockPath) -> None:
        kin = Parent(parent, path)
        await scene.begin(ExecutionCompleted(output=path, parent=kin), parent=kin, id=child)

    await asyncio.gather(work(), *(end(*each) for each in zip(children, paths, strict=True)))
    await carried(courier)
    told = [fact for fact in await scene.told(parent) if isinstance(fact, ChildEnded)]
    assert sorted(fact.child for fact in told) == sorted(children)
    assert all(fact.outputs == fact.path for fact in told)


async def test_an_event_that_comes_late_or_early_is_told(scene: Scene, courier: Courier) -> None:
    late = await scene.wait(order(1))
    await carried(courier)
    assert await scene.matched(late) == []

    early = await scene.begin()
    position = await scene.receive("payment.settled", {"order": 1})
    await scene.receive("payment.settled", {"order": 1})
    await scene.write(early, waiting(order(1)))
    await carried(courier)
    for execution_id in (late, early):
        [told] = await scene.told(execution_id)
        assert isinstance(told, EventMatched)
        assert (told.path, told.event.number, told.event.position) == (PAY, 0, position)
        assert (told.event.type, told.event.source, told.event.data) == ("payment.settled", "/bank", {"order": 1})
        assert (await scene.state(execution_id)).unheeded == 1


async def test_where_a_wait_begins_is_for_it_to_say(scene: Scene, courier: Courier) -> None:
    before = await scene.receive("payment.settled", {"order": 1, "n": 0})
    start, now = await scene.begin(), await scene.begin()
    await scene.receive("payment.settled", {"order": 1, "n": 1})
    await scene.write(start, waiting(order(1)))
    await scene.write(now, waiting(order(1), since="now"))
    waits = {
        "from the start": start,
        "from now": now,
        "from the beginning of the log": await scene.wait(order(1), position=0),
        "after the first": await scene.wait(order(1), position=before),
        "from far ahead": await scene.wait(order(1), position=1_000_000),
    }
    await carried(courier)
    await scene.receive("payment.settled", {"order": 1, "n": 2})
    await carried(courier)
    found = {name: [data["n"] for _, data in await scene.matched(each)] for name, each in waits.items()}
    assert found == {
        "from the start": [1],
        "from now": [2],
        "from the beginning of the log": [0],
        "after the first": [1],
        "from far ahead": [],
    }


async def test_any_one_of_several_is_enough_or_each_of_them_counts_once(scene: Scene, courier: Courier) -> None:
    any_of = await scene.wait(order(1), order(2))
    all_of = await scene.wait(order(1), order(2), WatchedEvent(type="payment.settled"), need="all")
    for number in (2, 2, 1, 1, 2):
        await scene.receive("payment.settled", {"order": number})
        await carried(courier)
    assert await scene.matched(any_of) == [(1, {"order": 2})]
    assert await scene.matched(all_of) == [(1, {"order": 2}), (2, {"order": 2}), (0, {"order": 1})]
    assert courier.open_watches == 0


async def test_many_events_at_once_are_told_like_one_after_the_other(
    scene: Scene, client: System, database: Database
) -> None:
    any_of = await scene.wait(order(1), order(2))
    all_of = await scene.wait(order(1), order(2), need="all")
    for number in (2, 2, 1, 1, 2):
        await scene.receive("payment.settled", {"order": number})
    async with carrying(client.log, client.bus, database) as courier:
        await carried(courier)
    assert await scene.matched(any_of) == [(1, {"order": 2})]
    assert await scene.matched(all_of) == [(1, {"order": 2}), (0, {"order": 1})]


async def test_other_executions_and_what_one_publishes_itself_can_be_waited_for(scene: Scene, courier: Courier) -> None:
    by_name = await scene.wait(WatchedEvent(type="block.completed", match="event.data.path == 'ship'"))
    in_full = await scene.wait(WatchedEvent(type="dev.playhead.execution.completed", match="event.data.output == 1"))
    own = await scene.begin()
    own_news = await scene.wait(WatchedEvent(type="shipped"))
    await scene.write(own, BlockCompleted(path=BlockPath("ship"), outputs=[1]), waiting(order(1)))
    await scene.write(by_name, BlockCompleted(path=BlockPath("other")))
    await scene.write(own_news, EventPublished(path=BlockPath("tell"), event_id="e-1", event_type="shipped"))
    await scene.begin(ExecutionCompleted(output=1))
    itself = await scene.wait(WatchedEvent(type="block.completed"))
    await scene.write(itself, BlockCompleted(path=BlockPath("ship")))
    await carried(courier)
    [first] = await scene.matched(by_name)
    assert (first[0], first[1]["execution_id"], first[1]["outputs"]) == (0, own, [1])
    [(_, ended)] = await scene.matched(in_full)
    assert ended["output"] == 1
    assert await scene.matched(own_news) == [(0, None)]
    assert await scene.matched(itself) == []


async def test_nobody_sees_the_events_of_another_tenant(scene: Scene, courier: Courier) -> None:
    early = await scene.receive("payment.settled", {"order": 1})
    theirs = await scene.wait(order(1), tenant=GLOBEX, position=early - 1)
    ours = await scene.wait(order(1), position=early)
    await carried(courier)
    await scene.receive("payment.settled", {"order": 1, "whose": "globex"}, tenant=GLOBEX)
    await scene.receive("payment.settled", {"order": 1, "whose": "acme"})
    await carried(courier)
    assert await scene.matched(theirs) == [(0, {"order": 1, "whose": "globex"})]
    assert await scene.matched(ours) == [(0, {"order": 1, "whose": "acme"})]


async def test_a_filter_without_an_answer_is_no_match_and_harms_no_other(scene: Scene, courier: Courier) -> None:
    odd = await scene.wait(
        WatchedEvent(type="payment.settled", match="event.data.missing.deep > 1"),
        WatchedEvent(type="payment.settled", match="event.data.order"),
        WatchedEvent(type="payment.settled", match="event.data.paid"),
    )
    fine = await scene.wait(order(1))
    await carried(courier)
    await scene.receive("payment.settled", {"order": 1})
    await carried(courier)
    assert await scene.matched(odd) == []
    assert await scene.matched(fine) == [(0, {"order": 1})]
    assert courier.failed_filters == 3
    await scene.receive("payment.settled", {"order": 1, "paid": True})
    await carried(courier)
    assert await scene.matched(odd) == [(2, {"order": 1, "paid": True})]


async def test_a_wait_that_begins_anew_counts_the_same_event_anew(scene: Scene, courier: Courier) -> None:
    execution_id = await scene.wait(order(1), order(2), need="all")
    await scene.receive("payment.settled", {"order": 1})
    await carried(courier)
    due = datetime.now(UTC) + timedelta(seconds=1)
    await scene.write(execution_id, BlockRetryScheduled(path=PAY, attempt=1, error=ERROR, due_at=due))
    await carried(courier)
    assert courier.open_watches == 0
    await scene.write(execution_id, waiting(order(1), order(2), need="all", attempt=2))
    await scene.receive("payment.settled", {"order": 2})
    await carried(courier)
    assert await scene.matched(execution_id) == [(0, {"order": 1}), (0, {"order": 1}), (1, {"order": 2})]
    assert len(block(await scene.state(execution_id), "pay").matched) == 2


SETTLES: dict[str, EventData] = {
    "completes": BlockCompleted(path=PAY),
    "fails": BlockFailed(path=PAY, error=ERROR, handled=True),
    "is skipped": BlockSkipped(path=PAY, reason="test"),
    "is in an execution that ends": ExecutionFailed(error=ERROR),
}


@pytest.mark.parametrize("how", SETTLES)
async def test_a_block_that_settles_waits_no_longer(scene: Scene, courier: Courier, how: str) -> None:
    execution_id = await scene.wait(order(1))
    await carried(courier)
    assert courier.open_watches == 1
    await scene.write(execution_id, SETTLES[how])
    await scene.receive("payment.settled", {"order": 1})
    await carried(courier)
    assert await scene.told(execution_id) == []
    assert courier.open_watches == 0


async def test_waits_stay_open_while_no_courier_runs(scene: Scene, client: System, database: Database) -> None:
    before = await scene.wait(order(1))
    partly = await scene.wait(order(1), order(2), need="all")
    async with carrying(client.log, client.bus, database) as courier:
        await scene.receive("payment.settled", {"order": 2})
        await carried(courier)
        assert courier.open_watches == 2
    await scene.receive("payment.settled", {"order": 1})
    meanwhile = await scene.wait(order(3))
    await scene.receive("payment.settled", {"order": 3})
    async with carrying(client.log, client.bus, database) as courier:
        await carried(courier)
        assert courier.open_watches == 0
    assert await scene.matched(before) == [(0, {"order": 1})]
    assert await scene.matched(partly) == [(1, {"order": 2}), (0, {"order": 1})]
    assert await scene.matched(meanwhile) == [(0, {"order": 3})]


async def test_a_courier_that_forgot_everything_repeats_nothing(
    scene: Scene, client: System, database: Database
) -> None:
    child, gone = ExecutionId(new_id()), ExecutionId(new_id())
    parent, careless = await scene.parent_of(child), await scene.parent_of(gone)
    kin = Parent(parent, PAY)
    await scene.begin(ExecutionPaused(epoch=1, pauses=(PauseId(new_id()),), parent=kin), parent=kin, id=child)
    await scene.write(child, ExecutionResumed(executor="e", epoch=2, command="c", parent=kin))
    await scene.begin(parent=Parent(careless, PAY), id=gone)
    await scene.write(careless, BlockSkipped(path=PAY, reason="test", child=gone))
    still_open = await scene.wait(order(1), order(2), need="all")
    await scene.receive("payment.settled", {"order": 1})
    async with carrying(client.log, client.bus, database) as courier:
        await carried(courier)
    told = await client.log.last_position()
    assert len(await scene.told(parent)) == 2
    await forget_everything(database)
    async with carrying(client.log, client.bus, database) as courier:
        await carried(courier)
        assert courier.open_watches == 1
        assert await client.log.last_position() == told
        await scene.receive("payment.settled", {"order": 2})
        await carried(courier)
    assert await scene.matched(still_open) == [(0, {"order": 1}), (1, {"order": 2})]


async def test_one_courier_works_and_another_takes_over(scene: Scene, client: System, database: Database) -> None:
    execution_id = await scene.wait(order(1))
    async with carrying(client.log, client.bus, database) as stays:
        async with carrying(client.log, client.bus, database) as goes:
            await eventually(lambda: _any_works(stays, goes))
            assert stays.is_writer != goes.is_writer
            await stays.check()
            await goes.check()
        await scene.receive("payment.settled", {"order": 1})
        await carried(stays)
    assert await scene.matched(execution_id) == [(0, {"order": 1})]


async def _any_works(*couriers: Courier) -> bool:
    return any(courier.is_writer for courier in couriers)


async def test_an_execution_with_a_broken_stream_is_passed_over(scene: Scene, courier: Courier) -> None:
    broken = await scene.wait(order(1))
    await scene.write(broken, ExecutionResumed(executor="e", epoch=9, command="c"))
    fine = await scene.wait(order(1))
    await scene.receive("payment.settled", {"order": 1})
    await carried(courier)
    assert await scene.matched(fine) == [(0, {"order": 1})]
    assert await scene.told(broken) == []


async def test_who_listens_and_the_executors_are_told_after_the_fact(
    scene: Scene, courier: Courier, client: System
) -> None:
    execution_id = await scene.wait(order(1))
    live = await client.live(execution_id)
    commands = await client.bus.subscribe(subjects.execution_command(TENANT, Wake.kind()))
    await scene.receive("payment.settled", {"order": 1})
    await carried(courier)
    event = decode_joined(await first(live))
    assert isinstance(event.data, EventMatched)
    wake = msgspec.json.decode(await first(commands), type=AnyCommand)
    assert isinstance(wake, Wake)
    assert (wake.execution_id, wake.id) == (execution_id, f"wake:{event.envelope.id}")


async def test_a_wait_that_looks_far_back_holds_up_nobody(scene: Scene, client: System, database: Database) -> None:
    for _ in range(30):
        await asyncio.gather(*(scene.receive("payment.settled", {"order": 0}) for _ in range(50)))
    found = await scene.receive("payment.settled", {"order": 7})
    far = await scene.wait(order(7), position=0)
    unfiltered = await scene.wait(WatchedEvent(match="event.data.order == 7"), position=0)
    blocks = await scene.wait(WatchedEvent(type="block.started", match="event.data.path == 'pay'"), position=0)
    async with carrying(client.log, client.bus, database) as courier:
        await carried(courier)
    for execution_id in (far, unfiltered):
        [told] = await scene.told(execution_id)
        assert isinstance(told, EventMatched)
        assert told.event.position == found
    [(_, started)] = await scene.matched(blocks)
    assert started["execution_id"] == far


async def test_hundreds_of_waits_and_thousands_of_events_come_together(
    scene: Scene, client: System, database: Database
) -> None:
    by_key = [
        await scene.wait(
            WatchedEvent(type="payment.settled", match="event.data.id == input.id && event.data.paid"),
            captured={"input": {"id": f"o-{number}"}},
        )
        for number in range(200)
    ]
    by_number = [await scene.wait(order(number)) for number in range(50)]
    async with carrying(client.log, client.bus, database) as courier:
        for start in range(0, 1000, 100):
            await asyncio.gather(
                *(
                    scene.receive(
                        "payment.settled", {"id": f"o-{number % 500}", "order": number % 500, "paid": number >= 500}
                    )
                    for number in range(start, start + 100)
                )
            )
        await carried(courier)
        assert courier.open_watches == 0
    for number, execution_id in enumerate(by_key):
        [(_, data)] = await scene.matched(execution_id)
        assert data == {"id": f"o-{number}", "order": number, "paid": True}
    for number, execution_id in enumerate(by_number):
        [(_, data)] = await scene.matched(execution_id)
        assert data["order"] == number


@asynccontextmanager
async def projector(database: Database, nats_url: str) -> AsyncGenerator[None]:
    stop = asyncio.Event()
    settings = ProjectorSettings(database_url=database.service_url, nats_url=nats_url)
    running = asyncio.create_task(serve_projector(settings, stop))
    try:
        yield
    finally:
        stop.set()
        await running


async def test_an_execution_goes_on_with_the_event_it_waited_for(
    system: System, scene: Scene, database: Database
) -> None:
    document = """
id: waiting
blocks:
  paid:
    type: wait
    events: [{type: payment.settled, match: "event.data.order == input.order && event.data.amount > 5"}]
    next: done
  done: {type: response, body: "{{ blocks.paid.event.data.amount }}"}
"""
    await system.publish(document)
    async with projector(database, system.nats_url):
        execution_id = await system.start(document, {"order": "o-1"})
        await system.paused(execution_id)
        await scene.receive("payment.settled", {"order": "o-2", "amount": 9})
        await scene.receive("payment.settled", {"order": "o-1", "amount": 7})
        ended = await system.ended(execution_id)
    assert (ended.status, ended.output) == ("completed", 7)


async def test_a_workflow_block_gives_what_its_child_gave(system: System, database: Database) -> None:
    child = """
id: child
blocks:
  out: {type: response, body: "{{ input.n * 2 }}"}
"""
    parent = """
id: parent
blocks:
  sub: {type: workflow, workflow: child, input: {n: "{{ input.n }}"}, next: out}
  out: {type: response, body: "{{ blocks.sub.output }}"}
"""
    await system.publish(child)
    await system.publish(parent)
    async with projector(database, system.nats_url):
        ended = await system.ended(await system.start(parent, {"n": 21}))
    assert (ended.status, ended.output) == ("completed", 42)
