"""What the blocks of a workflow document have in common."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from playhead_contracts.fields import ERROR, NEXT, Duration, Targets, Text, Written

Effects = Literal["none", "idempotent", "external"]
"""What running a block does outside: nothing; something that is the same when done twice; or something that counts."""


class Retry(Written, frozen=True):
    """How often, and after how long, a block is tried again.

    `attempts` counts the first one, too. The n-th pause is `backoff` times `factor` to the power n - 1 (or `backoff`,
    if `constant`), at most `max_backoff`, shortened at random by up to the share `jitter` of it. An error that says how
    long to wait (Retry-After) is heeded. `errors` are the types of errors to try again after; without it, those that
    say of themselves that they may go away.
    """

    attempts: Annotated[int, Field(ge=1, le=100)]
    backoff: Annotated[Duration, Field(ge=timedelta(0), le=timedelta(days=30))] = timedelta(seconds=1)
    strategy: Literal["exponential", "constant"] = "exponential"
    factor: Annotated[float, Field(ge=1, le=100, strict=False)] = 2.0
    max_backoff: Annotated[Duration, Field(ge=timedelta(0), le=timedelta(days=30))] = timedelta(minutes=5)
    jitter: Annotated[float, Field(ge=0, le=1, strict=False)] = 0.1
    errors: list[Text] | None = None


class BaseBlock(Written, frozen=True):
    """What every block has in common."""

    type: str
    display_name: str | None = None
    on_error: Targets = ()
    enabled: bool = True
    """A disabled block does not run; what follows goes on as if it had completed with nothing as outputs."""
    at_most_once: bool = False
    """After a crash in flight the block fails with `interrupted` in place of running twice."""
    effects: Effects | None = None
    """What running it again repeats outside, for the plan of a rerun; by the type of the block, if not set."""

    @property
    def continues_on_error(self) -> bool:
        """Whether the plain edges of the block are active also when it has failed."""
        return False

    @property
    def retries(self) -> Retry | None:
        return None

    @property
    def handles(self) -> dict[str, tuple[str, ...]]:
        """Where the outgoing edges lead, by handle. A handle without edges is not in it."""
        return {ERROR: self.on_error} if self.on_error else {}


class LinearBlock(BaseBlock, frozen=True):
    """A block that does not choose: when it is done, all its `next` edges are active."""

    next: Targets = ()
    continue_on_error: bool = False
    """A failure is recorded and shown, and the plain edges are active all the same."""

    @property
    def handles(self) -> dict[str, tuple[str, ...]]:
        return ({NEXT: self.next} if self.next else {}) | super().handles

    @property
    def continues_on_error(self) -> bool:
        return self.continue_on_error


class WorkingBlock(LinearBlock, frozen=True):
    """A block that does something which may fail for a while."""

    retry: Retry | None = None

    @property
    def retries(self) -> Retry | None:
        return self.retry
