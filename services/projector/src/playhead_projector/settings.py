"""What an operator can set on a projector."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import msgspec

from playhead_contracts.durations import parse_duration
from playhead_eventlog.checkpoints import Checkpoints
from playhead_eventlog.signing import BadKey, SigningKey
from playhead_projector.checkpoints.signing import Signing
from playhead_runtime.provision import StreamSizes
from playhead_runtime.settings import SECRET, BadSetting, BusSettings, DatabaseSettings

_SHORTEST_AGE = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Settings(BusSettings, DatabaseSettings):
    """Read from `PLAYHEAD_*`."""

    events_max_age: str = "7d"
    """How long the bus keeps its copy of an event. The log keeps it for ever."""
    events_max_bytes: Annotated[int, msgspec.Meta(ge=1024 * 1024)] = StreamSizes().events_bytes
    """How much the bus copy may take; beyond that the oldest go. JetStream sets this much of its store aside."""
    public_url: str | None = None
    """How clients reach the gateway: the stream of the bus copy tells them where the rest of the log is."""
    health_host: str = "127.0.0.1"
    health_port: int | None = None
    checkpoint_dir: Path | None = None
    """Where signed checkpoints of the log are written: outside of the database, and best outside of its operators'
    reach. None: nothing is signed."""
    signing_key: Annotated[str | None, SECRET] = field(default=None, repr=False)
    """What they are signed with, Ed25519: the path of a PEM file, or the 32 bytes in base64."""
    checkpoint_interval: str = "5m"
    """How often the log is signed, if anything was appended."""
    checkpoint_events: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    """And after how many events at the latest."""

    def streams(self) -> StreamSizes:
        """How large and old the streams may become. Raises BadSetting."""
        try:
            max_age = parse_duration(self.events_max_age)
        except ValueError as error:
            raise BadSetting("PLAYHEAD_EVENTS_MAX_AGE", repr(self.events_max_age), str(error)) from None
        if max_age < _SHORTEST_AGE:
            raise BadSetting("PLAYHEAD_EVENTS_MAX_AGE", repr(self.events_max_age), "set it to 1s or longer")
        base = (self.public_url or "").rstrip("/")
        return StreamSizes(
            events_bytes=self.events_max_bytes, events_max_age=max_age, log_url=f"{base}{StreamSizes().log_url}"
        )

    def signing(self) -> Signing | None:
        """How the log is signed. Raises BadSetting."""
        if self.checkpoint_dir is None and self.signing_key is None:
            return None
        if self.checkpoint_dir is None:
            raise BadSetting("PLAYHEAD_CHECKPOINT_DIR", None, "set it to a folder: there is a key to sign with")
        if self.signing_key is None:
            raise BadSetting(
                "PLAYHEAD_SIGNING_KEY", None, "checkpoints need one: `playhead checkpoints keygen DIR` makes it"
            )
        try:
            key = SigningKey.read(self.signing_key)
        except BadKey as error:
            raise BadSetting("PLAYHEAD_SIGNING_KEY", "not shown, for it is secret", str(error)) from None
        try:
            every = parse_duration(self.checkpoint_interval)
        except ValueError as error:
            raise BadSetting("PLAYHEAD_CHECKPOINT_INTERVAL", repr(self.checkpoint_interval), str(error)) from None
        return Signing(Checkpoints(self.checkpoint_dir), key, every, self.checkpoint_events)
