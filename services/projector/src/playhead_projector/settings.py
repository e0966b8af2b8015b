"""What an operator can set on a projector."""

from dataclasses import dataclass
from typing import Annotated

import msgspec

from playhead_runtime.settings import BusSettings, DatabaseSettings


@dataclass(frozen=True, kw_only=True)
class Settings(BusSettings, DatabaseSettings):
    """Read from `PLAYHEAD_*`."""

    stream_replicas: Annotated[int, msgspec.Meta(ge=1, le=5)] = 1
    """Replicas of the bus copy, should the relay have to make its stream anew."""
    health_host: str = "127.0.0.1"
    health_port: int | None = None
