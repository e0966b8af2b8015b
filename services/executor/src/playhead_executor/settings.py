"""What an operator can set on an executor."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from playhead_engine.limits import DEFAULT_LIMITS, Limits
from playhead_executor.blocks.function import Allowance
from playhead_runtime.settings import BusSettings, DatabaseSettings


@dataclass(frozen=True, kw_only=True)
class Settings(BusSettings, DatabaseSettings):
    """Read from `PLAYHEAD_*`."""

    executor_name: str | None = None
    """Unique among all executors; made up at start when not set."""
    max_executions: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    lease_seconds: Annotated[float, msgspec.Meta(ge=0.5, le=300)] = 5.0
    """How long after its last sign of life an executor's work goes to another."""
    stop_grace_seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 10.0
    """How long blocks in flight may take to finish when the executor is told to stop."""
    reconcile_seconds: Annotated[float, msgspec.Meta(ge=0.5, le=3600)] = 5.0
    patience_seconds: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 60.0
    """How long an executor holds on to its work while the event log does not answer."""
    max_output_bytes: Annotated[int, msgspec.Meta(ge=1024)] = DEFAULT_LIMITS.max_output_bytes
    max_items_bytes: Annotated[int, msgspec.Meta(ge=1024)] = DEFAULT_LIMITS.max_items_bytes
    max_iterations: Annotated[int, msgspec.Meta(ge=1)] = DEFAULT_LIMITS.max_iterations
    max_branches: Annotated[int, msgspec.Meta(ge=1)] = DEFAULT_LIMITS.max_branches
    max_child_depth: Annotated[int, msgspec.Meta(ge=0)] = DEFAULT_LIMITS.max_child_depth
    http_allow: tuple[str, ...] = ()
    """What `http` blocks may reach besides public addresses: host names, addresses, ranges, or `private`."""
    http_max_response_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 8 * 1024 * 1024
    function_max_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 60.0
    function_max_memory_mb: Annotated[int, msgspec.Meta(ge=1, le=512)] = 512
    function_max_output_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 1024 * 1024
    secrets_dir: Path | None = None
    """A directory with one file for each secret, as Docker and Kubernetes mount them."""
    health_host: str = "127.0.0.1"
    health_port: int | None = None

    def allowance(self) -> Allowance:
        """What code in `function` blocks gets here, at most."""
        return Allowance(self.function_max_seconds, self.function_max_memory_mb, self.function_max_output_bytes)

    def limits(self) -> Limits:
        """What executions may grow to here."""
        return Limits(
            max_output_bytes=self.max_output_bytes,
            max_items_bytes=self.max_items_bytes,
            max_iterations=self.max_iterations,
            max_branches=self.max_branches,
            max_child_depth=self.max_child_depth,
        )
