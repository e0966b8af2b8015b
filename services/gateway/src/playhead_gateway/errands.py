"""What goes on when the call that wanted it is over, such as a cancel for a client that went away."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from playhead_contracts.errors import PlayheadError

log = logging.getLogger(__name__)


class Errands:
    """Tasks that nobody waits for but the end of the gateway."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def run(self, name: str, errand: Coroutine[Any, Any, object]) -> None:
        """Have it done. What goes wrong is logged; a refusal is an outcome like any other."""
        task = asyncio.create_task(errand, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    async def finish(self) -> None:
        """Return when all are done."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, PlayheadError):
            log.info("errand came to nothing", extra={"errand": task.get_name(), "reason": str(error)})
        else:
            log.error("errand failed", extra={"errand": task.get_name()}, exc_info=error)
