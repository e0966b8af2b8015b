"""Ending tasks, also those that lose a cancellation."""

import asyncio

from playhead_eventlog.stopping import stop_tasks


async def test_a_task_whose_cancellation_was_swallowed_is_ended_all_the_same() -> None:
    ended: list[str] = []

    async def looks_for_ever(name: str, swallows: int) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if swallows == 0:
                    ended.append(name)
                    raise
                swallows -= 1

    tasks = [asyncio.create_task(looks_for_ever(name, count)) for name, count in (("once", 0), ("again", 1))]
    await asyncio.sleep(0)
    await stop_tasks(*tasks)
    assert ended == ["once", "again"]
    assert all(task.cancelled() for task in tasks)


async def test_what_a_task_raised_stays_with_it() -> None:
    async def breaks() -> None:
        raise ValueError("odd")

    task = asyncio.create_task(breaks())
    await asyncio.sleep(0)
    await stop_tasks(task)
    assert isinstance(task.exception(), ValueError)
