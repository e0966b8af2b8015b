"""Ending tasks that read from the database."""

import asyncio

AGAIN_SECONDS = 1.0


async def stop_tasks(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks, and return when all of them have ended. What they raise is theirs.

    One that goes on is cancelled again. On Python 3.11 `asyncio.wait_for`, by which psycopg_pool waits for a
    connection, swallows a cancellation that comes together with what it waits for (mended in 3.12,
    github.com/python/cpython/issues/86296), and a task that looks at the log for ever would never end.
    """
    going = set(tasks)
    while going:
        for task in going:
            task.cancel()
        _, going = await asyncio.wait(going, timeout=AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
