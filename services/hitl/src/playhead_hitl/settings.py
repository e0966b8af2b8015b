"""What an operator can set on hitl."""

from dataclasses import dataclass

from playhead_runtime.settings import BusSettings, DatabaseSettings


@dataclass(frozen=True, kw_only=True)
class Settings(BusSettings, DatabaseSettings):
    """Read from `PLAYHEAD_*`."""

    health_host: str = "127.0.0.1"
    health_port: int | None = None
