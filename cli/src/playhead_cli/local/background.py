"""An async context held open by a thread of its own, for code that is a plain sequence of steps."""

import asyncio
import threading
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def in_background(context: AbstractAsyncContextManager[T]) -> Generator[T]:
    """Enter `context` in a thread, and leave it there at the end. What entering raises is raised here.

    Children that the context starts end with that thread (PDEATHSIG), so one thread has it all the time.
    """
    entered: Future[T] = Future()
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = Future()

    async def hold() -> None:
        task = asyncio.current_task()
        assert task is not None
        begun.set_result((asyncio.get_running_loop(), task))
        async with context as value:
            entered.set_result(value)
            await asyncio.Event().wait()

    def run() -> None:
        try:
            asyncio.run(hold())
        except BaseException as error:  # noqa: BLE001 - told to whoever waits below; afterwards it is the end we asked for
            if not entered.done():
                entered.set_exception(error)

    thread = threading.Thread(target=run, name="system", daemon=True)
    thread.start()
    try:
        yield entered.result()
    finally:
        loop, task = begun.result()
        if thread.is_alive():
            loop.call_soon_threadsafe(task.cancel)
        thread.join()
