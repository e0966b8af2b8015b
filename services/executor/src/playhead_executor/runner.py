"""Driving one claimed execution until it ends, pauses, or is given back.

Each turn asks the engine what follows, writes what must be in the log before anything outside can depend on it,
starts blocks, and waits for the next result, answer, timer or stop. Blocks run as tasks of their own and only ever put
their result into the inbox; everything that changes the execution happens in this one coroutine.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import Enum

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import Chunk, Wake
from playhead_contracts.events import BlockDispatched, BlockError, BlockFailed, BlockStepCompleted, Json
from playhead_contracts.ids import BlockPath
from playhead_engine.scheduling import Advance, has_timers, next_due
from playhead_engine.scheduling.blocks import Run
from playhead_executor.children import Children
from playhead_executor.dispatch import dispatched_in, send_tasks
from playhead_executor.journal import Journal, Result
from playhead_executor.work import Workshop
from playhead_runtime.bus import Bus, BusUnavailable
from playhead_runtime.clock import Clock
from playhead_runtime.live import tell, tell_chunk
from playhead_runtime.spans import block_attempt
from playhead_runtime.tracing import current_traceparent

log = logging.getLogger("playhead.executor")

SHORT_WAIT_SECONDS = 0.25
"""Message schedules fire up to a quarter of a second late; shorter waits are kept in the process."""

GATHER_SECONDS = 0.05
"""How long results of blocks without effects may stay unwritten while others are still at work."""


class Ending(Enum):
    """How a runner came to let go."""

    SETTLED = "settled"
    """Ended or paused: the command is done."""
    HANDED_BACK = "handed_back"
    """We are stopping: another executor goes on."""


class _Done(msgspec.Struct, frozen=True):
    """What came of a block, and where in a trace it ran."""

    result: Result
    traceparent: str | None


class _Step(msgspec.Struct):
    """A finished step of a block in flight, where in a trace that is, and who waits for it to be in the log."""

    fact: BlockStepCompleted
    traceparent: str | None
    recorded: asyncio.Future[None]


class Runner:
    """One claimed execution at work. `run` may raise Fenced, ClaimLost or LogUnavailable; then nothing runs on."""

    def __init__(self, journal: Journal, workshop: Workshop, children: Children, bus: Bus, clock: Clock):
        self._journal = journal
        self._workshop = workshop
        self._children = children
        self._bus = bus
        self._clock = clock
        self._inbox: deque[_Done] = deque()
        self._steps: list[_Step] = []
        self._news = asyncio.Event()
        self._nudged = False
        self._stopping = False
        self._tasks: dict[BlockPath, asyncio.Task[None]] = {}
        self._effects: set[BlockPath] = set()
        self._bug: BaseException | None = None

    def nudge(self) -> None:
        """The log may hold something new: an answer, a cancel."""
        self._nudged = True
        self._news.set()

    def stop(self) -> None:
        """Start nothing new, and hand back when the effects in flight are known."""
        self._stopping = True
        self._news.set()

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    async def run(self) -> Ending:
        try:
            return await self._run()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _run(self) -> Ending:
        journal = self._journal
        settled: list[BlockPath] | None = None
        # Whoever recorded that a task is given out may have been lost before it was.
        tasks = dispatched_in(journal.state) if journal.is_recovered else []
        while True:
            if self._stopping:
                return await self._hand_back()
            step = journal.advance(settled)
            settled = None
            effects = self._launch_pure(step)
            self._end_blocks(step.cancelled)
            tasks += (event for event in step.events if isinstance(event, BlockDispatched))
            if step.is_cut_off:
                if await self._commit():
                    await send_tasks(self._bus, journal.state, tasks)
                    for run in effects:
                        self._effects.add(run.path)
                        self._launch(run)
                    # What was taken over is in the log alone.
                    await journal.look_again()
                tasks = []
                continue
            state = journal.state
            if not state.is_ended and not state.running and self._time_left(SHORT_WAIT_SECONDS) is None:
                journal.release()
            lets_go = state.is_ended or state.owner is None
            if (effects or tasks or lets_go or self._effects or journal.is_full) and not await self._commit():
                tasks = []
                continue
            await send_tasks(self._bus, state, tasks)
            tasks = []
            if lets_go:
                await self._set_timer()
                return Ending.SETTLED
            for run in effects:
                self._effects.add(run.path)
                self._launch(run)
            settled = await self._news_of_blocks()

    def _launch_pure(self, step: Advance) -> list[Run]:
        """Start what has no effects, and give what has: that waits until its start is in the log."""
        effects: list[Run] = []
        for run in step.runs:
            if run.effects:
                effects.append(run)
            else:
                self._launch(run)
        return effects

    async def _commit(self) -> bool:
        """Write what has gathered and tell who listens; False when others' facts came first."""
        frames = await self._journal.commit()
        if frames is None:
            return False
        if frames:
            state = self._journal.state
            await tell(self._bus, state.tenant, state.execution_id, frames)
        return True

    async def _news_of_blocks(self) -> list[BlockPath] | None:
        """Wait for something to happen. Gives the blocks that settled, or None when everything must be looked at."""
        while not (self._inbox or self._steps or self._nudged or self._stopping or self._bug):
            self._news.clear()
            seconds = None if self._journal.is_clean else GATHER_SECONDS
            wake_in = self._time_left()
            if wake_in is not None:
                seconds = wake_in if seconds is None else min(seconds, wake_in)
            if await _within(seconds, self._news.wait):
                continue
            if not self._journal.is_clean and not await self._commit():
                return None
            if wake_in is not None and self._time_left(0) is not None:
                return None
        if self._bug is not None:
            raise self._bug
        settled: list[BlockPath] = []
        while self._inbox:
            done = self._inbox.popleft()
            path = done.result.path
            self._tasks.pop(path, None)
            self._effects.discard(path)
            self._journal.finish(done.result, done.traceparent)
            settled.append(path)
        if self._steps and not await self._record_steps():
            return None
        if self._nudged:
            self._nudged = False
            # An append that succeeds proves that nobody else's fact came first; one that does not looks again itself.
            if self._journal.is_clean:
                await self._journal.look_again()
            else:
                await self._commit()
            return None
        return settled

    def _time_left(self, within_seconds: float | None = None) -> float | None:
        """Seconds until the next timer is due; None if there is none, or none due that soon."""
        state = self._journal.state
        due = next_due(state) if has_timers(state) else None
        if due is None:
            return None
        left = max((due - self._clock.now()).total_seconds(), 0.0)
        return left if within_seconds is None or left <= within_seconds else None

    def _launch(self, run: Run) -> None:
        task = asyncio.create_task(self._work(run), name=f"block {run.path}")
        task.add_done_callback(self._on_done)
        self._tasks[run.path] = task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (bug := task.exception()) is not None:
            self._bug = bug
            self._news.set()

    async def _work(self, run: Run) -> None:
        node, state = self._journal.graph.node(run.path), self._journal.state
        with block_attempt(state.execution_id, run.path, node.block.type, run.attempt) as span:
            traceparent = current_traceparent()
            if run.child is not None:
                result = await self._children.start(node, run, run.child, state)
            else:
                result = await self._workshop.work(node, run, state, _Progress(self, run))
            if span is not None and isinstance(result, BlockFailed):
                span.fail(result.error.type)
        self._inbox.append(_Done(result, traceparent))
        self._news.set()

    async def step_completed(self, run: Run, name: str, outputs: Json) -> None:
        """Have a step of a block in flight recorded; returns when it is in the log."""
        fact = BlockStepCompleted(path=run.path, attempt=run.attempt, name=name, outputs=outputs)
        step = _Step(fact, current_traceparent(), asyncio.get_running_loop().create_future())
        self._steps.append(step)
        self._news.set()
        await step.recorded

    async def chunk(self, run: Run, index: int, content: Json) -> None:
        """Tell who listens a piece of what a block in flight is about to give."""
        state = self._journal.state
        chunk = Chunk(execution_id=state.execution_id, path=run.path, attempt=run.attempt, index=index, content=content)
        await tell_chunk(self._bus, state.tenant, chunk)

    def steps_of(self, path: BlockPath) -> Mapping[str, Json]:
        """The recorded steps of a block in flight."""
        return self._journal.state.blocks[path].steps

    async def _record_steps(self) -> bool:
        """Write the steps that have been finished; False when others' facts came first."""
        steps, self._steps = self._steps, []
        # A block that was ended meanwhile tells nothing more.
        steps = [step for step in steps if step.fact.path in self._journal.state.running]
        for step in steps:
            self._journal.note_step(step.fact, step.traceparent)
        goes_on = await self._commit()
        if not goes_on:
            # The facts were kept, and are gathered anew.
            while not await self._commit():
                continue
        for step in steps:
            if not step.recorded.done():
                step.recorded.set_result(None)
        return goes_on

    def _end_blocks(self, paths: Iterable[BlockPath]) -> None:
        """End blocks in flight. A block that takes its time to clean up is not waited for."""
        for path in paths:
            task = self._tasks.get(path)
            if task is not None and task.cancel():
                del self._tasks[path]
                self._effects.discard(path)
                error = BlockError(type="cancelled", message="It was ended while it ran")
                attempt = self._journal.state.blocks[path].attempt
                self._inbox.append(_Done(BlockFailed(path=path, attempt=attempt, error=error), None))

    async def _hand_back(self) -> Ending:
        """Finish what has effects, write every result, start nothing: whoever takes over repeats only pure work."""
        for path, task in list(self._tasks.items()):
            if path not in self._effects:
                task.cancel()
        while self._effects and not self._journal.state.is_ended:
            self._nudged = False
            while not self._inbox and not self._steps and self._bug is None:
                self._news.clear()
                await self._news.wait()
            if self._bug is not None:
                raise self._bug
            if self._steps:
                await self._record_steps()
            while self._inbox:
                done = self._inbox.popleft()
                self._effects.discard(done.result.path)
                self._journal.finish(done.result, done.traceparent)
        while not await self._commit():
            continue
        return Ending.HANDED_BACK

    async def _set_timer(self) -> None:
        """Have the bus wake the execution when its earliest timer is due. If that fails, the reconciler does it."""
        state = self._journal.state
        if state.is_ended or state.due_at is None:
            return
        timer_id = f"timer:{state.execution_id}:{state.version}"
        wake = Wake(id=timer_id, tenant=state.tenant, execution_id=state.execution_id, timer=timer_id)
        try:
            await self._bus.schedule(
                subjects.timer(state.tenant, state.execution_id),
                subjects.execution_command(state.tenant, Wake.kind()),
                state.due_at,
                msgspec.json.encode(wake),
                timer_id,
            )
        except BusUnavailable as unavailable:
            log.warning("timer not set", extra={"execution_id": state.execution_id, "reason": str(unavailable)})


class _Progress:
    """What one block in flight can tell of itself (`blocks.contract.Progress`)."""

    def __init__(self, runner: Runner, run: Run):
        self._runner = runner
        self._run = run
        self._chunks = 0

    @property
    def steps(self) -> Mapping[str, Json]:
        return self._runner.steps_of(self._run.path)

    async def step_completed(self, name: str, outputs: Json) -> None:
        await self._runner.step_completed(self._run, name, outputs)

    async def chunk(self, content: Json) -> None:
        index, self._chunks = self._chunks, self._chunks + 1
        await self._runner.chunk(self._run, index, content)


async def _within(seconds: float | None, wait: Callable[[], Awaitable[object]]) -> bool:
    """Whether `wait` came to its end in time."""
    if seconds is None:
        await wait()
        return True
    try:
        async with asyncio.timeout(seconds):
            await wait()
    except TimeoutError:
        return False
    return True
