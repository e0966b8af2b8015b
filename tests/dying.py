"""A real service that kills itself (SIGKILL) at a named point of an answer's way, the first time that it comes there.

`python -m tests.dying`, with the service in PLAYHEAD_DYING, the point in PLAYHEAD_DIE_AT, and in PLAYHEAD_DIED a file
that says that it has happened. Everything else is the service as it is.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from playhead_contracts import subjects
from playhead_contracts.events import ExecutionResumed, NewEvent, PauseResolved
from playhead_engine.state import ExecutionState
from playhead_eventlog import EventLog
from playhead_runtime.bus import Bus
from playhead_runtime.service import run_service

Call = Callable[..., Awaitable[Any]]

POINTS = {
    "hitl": ("before the append", "after the append", "after the command"),
    "executor": ("while folding", "before the claim", "after the claim"),
    "gateway": ("before asking", "after asking"),
}


def die() -> None:
    """Go, with no goodbye: once."""
    died = Path(os.environ["PLAYHEAD_DIED"])
    if not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str) -> None:
    """Put death where it was asked for."""
    append, fold, send, request = EventLog.append, EventLog.fold, Bus.send_soon, Bus.request

    def holds(new: Sequence[NewEvent], kind: type) -> bool:
        return any(isinstance(event.data, kind) for event in new)

    async def dying_append(self: EventLog, stream: Any, head: Any, new: Sequence[NewEvent]) -> Any:
        kind = ExecutionResumed if "claim" in point else PauseResolved
        if point in ("before the append", "before the claim") and holds(new, kind):
            die()
        appended = await append(self, stream, head, new)
        if point in ("after the append", "after the claim") and holds(new, kind):
            die()
        return appended

    async def dying_fold(self: EventLog, stream: Any, how: Any, *more: Any) -> Any:
        state, head = await fold(self, stream, how, *more)
        if point == "while folding" and isinstance(state, ExecutionState) and state.unheeded:
            die()
        return state, head

    async def dying_send(self: Bus, subject: str, *more: Any, **named: Any) -> None:
        await send(self, subject, *more, **named)
        if point == "after the command" and subject.endswith(".resume"):
            await asyncio.sleep(0)
            die()

    async def dying_request(self: Bus, subject: str, *more: Any, **named: Any) -> bytes:
        is_answer = subject == subjects.ANSWER_REQUESTS
        if point == "before asking" and is_answer:
            die()
        reply = await request(self, subject, *more, **named)
        if point == "after asking" and is_answer:
            die()
        return reply

    patched: dict[tuple[type, str], Call] = {
        (EventLog, "append"): dying_append,
        (EventLog, "fold"): dying_fold,
        (Bus, "send_soon"): dying_send,
        (Bus, "request"): dying_request,
    }
    for (owner, name), call in patched.items():
        setattr(owner, name, call)


if __name__ == "__main__":
    arm(os.environ["PLAYHEAD_DIE_AT"])
    sys.exit(run_service(import_module(f"playhead_{os.environ['PLAYHEAD_DYING']}.__main__").main))
