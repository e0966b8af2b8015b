"""What else can be done about an open pause: give it more time, pass it on, and note who was told of it."""

from datetime import datetime

from playhead_contracts.errors import Forbidden, InvalidInput
from playhead_contracts.events import Actor, PauseDelegated, PauseExtended, PauseNotified
from playhead_contracts.ids import PauseId
from playhead_engine.pauses.refusals import check_open, find_pause
from playhead_engine.pauses.rights import Answerer, check_may_answer
from playhead_engine.state import ExecutionState


class NotTheOwner(Forbidden):
    problem, title = "not-the-owner", "Only an owner may do this"


class NoMoreTime(InvalidInput):
    problem, title = "no-more-time", "This is not more time than there is"


class CannotDelegate(InvalidInput):
    problem, title = "cannot-delegate", "It cannot be passed on to them"


def decide_extension(
    state: ExecutionState,
    pause_id: PauseId,
    expires_at: datetime,
    by: Actor,
    at: datetime,
    *,
    is_operator: bool = False,
    reason: str | None = None,
) -> list[PauseExtended]:
    """Give people until `expires_at`; nothing if they have until then.

    An owner is who started the execution, or an operator. Raises PauseUnknown, NotTheOwner, PauseExpiredAlready,
    PauseClosed or NoMoreTime.
    """
    pause = find_pause(state, pause_id)
    if not is_operator and by.name != state.starter.name:
        raise NotTheOwner(f"{by.name} did not start this execution; its owner is {state.starter.name}")
    check_open(state, pause, at)
    before = pause.expires_at
    if before == expires_at:
        return []
    if before is None:
        raise NoMoreTime(f"pause {pause_id} has no end: it waits until somebody answers")
    if expires_at <= before:
        raise NoMoreTime(f"pause {pause_id} is open until {before.isoformat()} already")
    remind_at = None if pause.remind_at is None else expires_at - (before - pause.remind_at)
    return [
        PauseExtended(pause_id=pause_id, path=pause.path, expires_at=expires_at, remind_at=remind_at, reason=reason)
    ]


def decide_delegation(
    state: ExecutionState, pause_id: PauseId, to: str, who: Answerer, at: datetime, *, reason: str | None = None
) -> list[PauseDelegated]:
    """Let `to` answer in the place of `who`, who may not any more; nothing if that is so already.

    Raises PauseUnknown, NotAnAssignee, SelfApproval, NotNamed, PauseExpiredAlready, PauseClosed or CannotDelegate.
    """
    pause = find_pause(state, pause_id)
    last = pause.delegations[-1] if pause.delegations else None
    if last is not None and last.by.name == who.name and last.to == to:
        return []
    check_may_answer(pause, who)
    check_open(state, pause, at)
    name = to.removeprefix("user:")
    if who.anonymous:
        raise CannotDelegate("a link that names nobody cannot pass the pause on")
    if not name or ":" in name:
        raise CannotDelegate("a pause is passed on to one person, by name")
    if name == who.name:
        raise CannotDelegate(f"{name} may answer already")
    if name in pause.barred:
        raise CannotDelegate(f"{name} started this execution, and may not answer")
    if any(vote.by.name == who.name for vote in pause.votes):
        raise CannotDelegate(f"{who.name} has voted already")
    return [PauseDelegated(pause_id=pause_id, path=pause.path, to=name, reason=reason)]


def decide_notified(state: ExecutionState, notified: PauseNotified) -> list[PauseNotified]:
    """Note what became of telling a webhook; nothing once the execution has ended, for nothing follows its end.

    Raises PauseUnknown.
    """
    find_pause(state, notified.pause_id)
    return [] if state.is_ended else [notified]
