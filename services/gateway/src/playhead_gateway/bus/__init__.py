"""The gateway's door on the bus: commands of clients, and events from outside. The rules are those of HTTP."""

from playhead_gateway.bus.door import open_door

__all__ = ["open_door"]
