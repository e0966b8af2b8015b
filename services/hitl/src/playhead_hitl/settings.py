"""What an operator can set on hitl."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

import msgspec

from playhead_contracts.durations import parse_duration
from playhead_runtime.links import LinkSettings
from playhead_runtime.settings import BadSetting, BusSettings, DatabaseSettings


@dataclass(frozen=True, kw_only=True)
class Settings(BusSettings, DatabaseSettings, LinkSettings):
    """Read from `PLAYHEAD_*`. Raises BadSetting when it is made with something that cannot be."""

    webhook_allow: tuple[str, ...] = ()
    """What webhooks may reach besides public addresses: host names, addresses, ranges, or `private`."""
    webhook_retries: tuple[str, ...] = ("5s", "5m", "30m", "2h", "5h", "10h", "14h", "20h", "24h")
    """How long after each failed attempt the next one follows; after the last of them it is given up."""
    webhook_timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 15.0
    webhook_keep_days: Annotated[float, msgspec.Meta(gt=0, le=36_500)] = 30.0
    """How long deliveries that have ended are kept, to be looked at and sent again."""
    health_host: str = "127.0.0.1"
    health_port: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.webhook_schedule()

    def webhook_schedule(self) -> tuple[timedelta, ...]:
        """The time before each further attempt. Raises BadSetting."""
        try:
            return tuple(parse_duration(text) for text in self.webhook_retries)
        except ValueError as wrong:
            shown = repr(",".join(self.webhook_retries))
            raise BadSetting(
                "PLAYHEAD_WEBHOOK_RETRIES", shown, f"set it to durations with commas between them ({wrong})"
            ) from wrong
