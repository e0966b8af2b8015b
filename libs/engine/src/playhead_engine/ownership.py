"""Who may work on an execution.

A claim is an event, `execution.started`, `resumed` or `recovered`, whose epoch is one higher than the last. Two
executors that claim at once append at the same version, and the log lets one of them win. The claim names the command
it was made for. While the owner lives it keeps that command's lease; when the very same command is delivered again,
the lease has run out and the claim may be taken over. Any other command (an answer, a cancel, a timer) is not
evidence that the owner is gone: the owner is told to look at the log.

An owner that lost its claim learns so from its next append: the new events hold a newer epoch, and it lets go without
touching anything more.
"""

from typing import Literal

import msgspec

from playhead_contracts.events import ExecutionRecovered, ExecutionResumed, ExecutionStarted
from playhead_engine.state import ExecutionState, ExecutionStatus

CLAIMS_WITHOUT_PROGRESS = 5
"""After so many lost executors in a row, with no block settled in between, the execution is held back."""


class Claim(msgspec.Struct, frozen=True):
    event: ExecutionStarted | ExecutionResumed | ExecutionRecovered


class HeldBy(msgspec.Struct, frozen=True):
    """Somebody else holds it, and nothing says that they are gone."""

    executor: str


class Nothing(msgspec.Struct, frozen=True):
    """There is nothing to do for this command."""

    reason: Literal["ended", "dead_lettered"]


class Poisoned(msgspec.Struct, frozen=True):
    """Executors keep getting lost over it."""

    failures: int


def decide_claim(
    state: ExecutionState, executor: str, command: str, owner_is_gone: bool = False
) -> Claim | HeldBy | Nothing | Poisoned:
    """Whether `executor` may take the execution for `command`. `owner_is_gone`: nobody answers in its owner's name."""
    if state.is_ended:
        return Nothing("ended")
    epoch = state.epoch + 1
    if state.status is ExecutionStatus.CREATED:
        return Claim(ExecutionStarted(executor=executor, epoch=epoch, command=command))
    if state.status is ExecutionStatus.PAUSED:
        parent = state.parent if state.asked else None
        return Claim(ExecutionResumed(executor=executor, epoch=epoch, command=command, parent=parent))
    assert state.owner is not None
    if state.idle_claims >= CLAIMS_WITHOUT_PROGRESS:
        return Poisoned(state.idle_claims)
    if state.claim_command == command or owner_is_gone or state.owner == executor:
        return Claim(ExecutionRecovered(executor=executor, epoch=epoch, command=command, taken_from=state.owner))
    return HeldBy(state.owner)


def is_fenced(state: ExecutionState, epoch: int) -> bool:
    """Whether a newer claim than `epoch` is in the log, of which `state` is the fold."""
    return state.epoch > epoch
