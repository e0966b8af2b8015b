"""Driving one claimed execution until it ends, pauses, or is given back.

Each turn asks the engine what follows, writes what must be in the log before anything outside can depend on it,
starts blocks, and waits for the next result, answer, timer or stop. Blocks run as tasks of their own and only ever put
their result into the inbox; everything that changes the execution happens in this one coroutine.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import Wake
from playhead_contracts.events import BlockError, BlockFailed
from playhead_contracts.ids import BlockPath
from playhead_engine.advance import next_due
from playhead_engine.blocks import Run
from playhead_executor.journal import Journal, Result
from playhead_executor.work import Workshop
from playhead_runtime.bus import Bus, BusUnavailable
from playhead_runtime.clock import Clock
from playhead_runtime.live import tell

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


class Runner:
    """One claimed execution at work. `run` may raise Fenced, ClaimLost or LogUnavailable; then nothing runs on."""

    def __init__(self, journal: Journal, workshop: Workshop, bus: Bus, clock: Clock):
        self._journal = journal
        self._workshop = workshop
        self._bus = bus
        self._clock = clock
        self._inbox: deque[Result] = deque()
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
        while True:
            if self._stopping:
                return await self._hand_back()
            step = journal.advance(settled)
            settled = None
            effects: list[Run] = []
            for run in step.runs:
                if run.effects:
                    effects.append(run)
                else:
                    self._launch(run)
            state = journal.state
            if state.stop is not None and state.stop.kind == "cancel":
                self._cancel_blocks()
            if not state.is_ended and not state.running and self._time_left(SHORT_WAIT_SECONDS) is None:
                journal.release()
            lets_go = state.is_ended or state.owner is None
            if (effects or lets_go or self._effects) and not await self._commit():
                continue
            if lets_go:
                await self._set_timer()
                return Ending.SETTLED
            for run in effects:
                self._effects.add(run.path)
                self._launch(run)
            settled = await self._news_of_blocks()

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
        while not (self._inbox or self._nudged or self._stopping or self._bug):
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
            result = self._inbox.popleft()
            self._tasks.pop(result.path, None)
            self._effects.discard(result.path)
            self._journal.finish(result)
            settled.append(result.path)
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
        if len(state.blocks) == state.settled + len(state.running):
            return None
        due = next_due(state)
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
        node = self._journal.graph.nodes[run.path]
        result = await self._workshop.work(node, run, self._journal.state)
        self._inbox.append(result)
        self._news.set()

    def _cancel_blocks(self) -> None:
        for path, task in list(self._tasks.items()):
            if task.cancel():
                del self._tasks[path]
                self._effects.discard(path)
                error = BlockError(type="cancelled", message="The execution was cancelled while it ran")
                attempt = self._journal.state.blocks[path].attempt
                self._inbox.append(BlockFailed(path=path, attempt=attempt, error=error))

    async def _hand_back(self) -> Ending:
        """Finish what has effects, write every result, start nothing: whoever takes over repeats only pure work."""
        for path, task in list(self._tasks.items()):
            if path not in self._effects:
                task.cancel()
        while self._effects and not self._journal.state.is_ended:
            self._nudged = False
            while not self._inbox and self._bug is None:
                self._news.clear()
                await self._news.wait()
            if self._bug is not None:
                raise self._bug
            while self._inbox:
                result = self._inbox.popleft()
                self._effects.discard(result.path)
                self._journal.finish(result)
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
                subjects.command(state.tenant, Wake.kind()),
                state.due_at,
                msgspec.json.encode(wake),
                timer_id,
            )
        except BusUnavailable as unavailable:
            log.warning("timer not set", extra={"execution_id": state.execution_id, "reason": str(unavailable)})


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
