"""Keeping the streams of the bus there, as the settings say.

With one user for each service only the projector's may make streams: the others wait for them. So it makes all of them
when it starts, and looks every few seconds whether one has gone, as after a wiped or replaced server.
"""

import asyncio
import logging

from playhead_contracts.errors import Unavailable
from playhead_runtime.bus import Bus, BusRejected, NotAllowed
from playhead_runtime.provision import StreamSizes, missing_streams, provision_events, provision_streams

log = logging.getLogger("playhead.projector.streams")

LOOK_AGAIN_SECONDS = 2.0


class StreamKeeper:
    """One of any number: making what is there changes nothing."""

    def __init__(self, bus: Bus, replicas: int, sizes: StreamSizes):
        self._bus = bus
        self._replicas = replicas
        self._sizes = sizes

    async def begin(self) -> None:
        """Make or update all streams. Raises BusUnavailable and BusRejected."""
        await provision_streams(self._bus, self._replicas, self._sizes)

    async def provision_events(self) -> None:
        """Make the stream of the bus copy. Errors as `begin`."""
        await provision_events(self._bus, self._replicas, sizes=self._sizes)

    async def run(self) -> None:
        """Make anew what has gone, for ever."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            try:
                if missing := await missing_streams(self._bus):
                    log.warning("streams made anew", extra={"streams": ", ".join(missing)})
                    await self.begin()
            except NotAllowed as refused:
                log.warning("streams are not looked after", extra={"reason": str(refused)})
                return
            except (Unavailable, BusRejected) as unavailable:
                log.warning("streams not looked at", extra={"reason": str(unavailable)})
