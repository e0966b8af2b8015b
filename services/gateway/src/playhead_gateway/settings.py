"""The settings of the gateway, from `PLAYHEAD_*` variables."""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated

import msgspec

from playhead_contracts.ids import TOKEN_PATTERN
from playhead_engine.limits import DEFAULT_LIMITS, Limits
from playhead_runtime.links import LinkSettings
from playhead_runtime.settings import BadSetting, BusSettings, DatabaseSettings

Token = Annotated[str, msgspec.Meta(pattern=TOKEN_PATTERN)]


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own loopback. Names are not looked up."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class Settings(BusSettings, DatabaseSettings, LinkSettings):
    """Where the gateway listens, what it talks to, and its limits.

    Raises BadSetting when it is made with an open tenant on an address that others can reach.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8088
    open_tenant: Token | None = None
    """Requests need no key and act for this tenant. For one machine only: the host must be loopback."""
    sync_wait_seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60.0
    max_body_bytes: Annotated[int, msgspec.Meta(ge=1024, le=64 * 1024 * 1024)] = 1024 * 1024
    """Of any request: a document or an input that is larger does not get in."""
    max_document_bytes: Annotated[int, msgspec.Meta(ge=1024)] = DEFAULT_LIMITS.max_document_bytes
    max_blocks: Annotated[int, msgspec.Meta(ge=1)] = DEFAULT_LIMITS.max_blocks
    max_depth: Annotated[int, msgspec.Meta(ge=1)] = DEFAULT_LIMITS.max_depth
    bus_keys_required: bool = False
    """Commands and events over NATS need an API key in their headers, as HTTP calls do; without it the permissions of
    the NATS account alone say who may send for a tenant.
    """
    command_lease_seconds: Annotated[float, msgspec.Meta(gt=0, le=600)] = 10.0
    """After how long without a sign of life another gateway takes over a command from the bus."""
    stop_seconds: Annotated[int, msgspec.Meta(ge=1, le=600)] = 5
    """How long requests in flight may take once the process is told to stop."""

    @property
    def base_url(self) -> str:
        """How people reach this gateway."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url or f"http://{host}:{self.port}"

    def limits(self) -> Limits:
        """What a document may be that is published here."""
        return Limits(max_document_bytes=self.max_document_bytes, max_blocks=self.max_blocks, max_depth=self.max_depth)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.open_tenant is not None and not is_loopback(self.host):
            raise BadSetting(
                "PLAYHEAD_OPEN_TENANT",
                repr(self.open_tenant),
                f"that lets anybody in who reaches {self.host!r}: unset it, or set PLAYHEAD_HOST to 127.0.0.1",
            )
