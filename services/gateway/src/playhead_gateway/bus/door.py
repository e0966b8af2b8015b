"""The tasks that answer for the bus, as long as the gateway runs."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from playhead_contracts import subjects
from playhead_eventlog.stopping import stop_tasks
from playhead_gateway.bus.commands import MOST_ADMITTED_AT_ONCE, MOST_HELD, Admission
from playhead_gateway.bus.events import Inbox
from playhead_gateway.bus.strays import Strays
from playhead_gateway.bus.subscriber import Consumer, Subscriber
from playhead_gateway.services import Services
from playhead_runtime.provision import provision_admission

_MOST_EVENTS = 128


class Door:
    """What takes commands and events from the bus. Made by `open_door`."""

    def __init__(self, subscribers: Sequence[Subscriber]):
        self._subscribers = subscribers

    async def close(self) -> None:
        """Let nothing more in; what is inside goes on. Twice is the same as once."""
        for each in self._subscribers:
            await each.take_no_more()


@asynccontextmanager
async def open_door(services: Services) -> AsyncGenerator[Door]:
    """Take commands and events from the bus until the end of the block. While the bus is away, wait for it."""
    lease = services.settings.command_lease_seconds

    async def provision() -> None:
        await provision_admission(services.bus, services.settings.stream_replicas, ack_wait_seconds=lease)

    commands = Consumer(
        stream=subjects.COMMANDS_STREAM,
        name=subjects.ADMISSION_CONSUMER,
        most=MOST_HELD + 2 * MOST_ADMITTED_AT_ONCE,
        lease_seconds=lease,
    )
    inbox = Consumer(stream=subjects.INBOX_STREAM, name=subjects.INBOX_CONSUMER, most=_MOST_EVENTS, lease_seconds=lease)
    subscribers = (
        Subscriber(services.bus, commands, Admission(services).handle, provision),
        Subscriber(services.bus, inbox, Inbox(services).handle, provision),
    )
    for each in subscribers:
        each.start()
    looking = asyncio.create_task(Strays(services).run(), name="strays")
    try:
        yield Door(subscribers)
    finally:
        await stop_tasks(looking)
        for each in subscribers:
            await each.stop()
