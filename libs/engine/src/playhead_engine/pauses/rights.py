"""Who may answer a pause: those it is assigned to, and those to whom they passed it on; never who is barred.

Whatever cannot be known is a no: somebody who holds a link that names nobody could be anyone, so they may not answer
where it matters who answers.
"""

import msgspec

from playhead_contracts.errors import Forbidden
from playhead_contracts.events import Actor
from playhead_engine.state import PauseState


class Answerer(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever wants to answer, as far as they are known."""

    actor: Actor
    groups: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    anonymous: bool = False
    """They hold a link that names nobody."""

    @property
    def name(self) -> str:
        return self.actor.name


class NotAnAssignee(Forbidden):
    problem, title = "not-an-assignee", "This pause is for others to answer"


class SelfApproval(Forbidden):
    problem, title = "self-approval", "Who started it may not approve it"

    def __init__(self, pause: PauseState, who: str):
        super().__init__(f"{who} started this execution, and pause {pause.pause_id} is for somebody else to answer")


class NotNamed(Forbidden):
    problem, title = "not-named", "Whoever answers must be known by name"

    def __init__(self, pause: PauseState):
        super().__init__(f"the link names nobody, and it matters who answers pause {pause.pause_id}: ask for a link")


def check_may_answer(pause: PauseState, who: Answerer) -> None:
    """Raises NotAnAssignee, SelfApproval or NotNamed."""
    if who.name in pause.barred:
        raise SelfApproval(pause, who.name)
    if who.anonymous and (pause.barred or pause.quorum is not None):
        raise NotNamed(pause)
    holders = _holders(pause)
    if holders.get(who.name):
        return
    if who.name in holders:
        passed = next(each.to for each in reversed(pause.delegations) if each.by.name == who.name)
        raise NotAnAssignee(f"{who.name} passed pause {pause.pause_id} on to {passed}")
    if pause.assignees and not any(_names(assignee, who) for assignee in pause.assignees):
        raise NotAnAssignee(f"pause {pause.pause_id} is for {', '.join(pause.assignees)}, not for {who.name}")


def is_asked(pause: PauseState, who: Answerer) -> bool:
    """Whether `check_may_answer` lets them."""
    try:
        check_may_answer(pause, who)
    except Forbidden:
        return False
    return True


def asked_now(pause: PauseState) -> tuple[str, ...]:
    """Who may answer, as far as names say: the assignees without those who passed it on, and those they passed it to.

    Empty if anybody may.
    """
    if not pause.assignees:
        return ()
    holders = _holders(pause)
    kept = [name for name in pause.assignees if holders.get(name.removeprefix("user:"), True)]
    return tuple(dict.fromkeys((*kept, *(name for name, holds in holders.items() if holds))))


def on_behalf_of(pause: PauseState, name: str) -> str | None:
    """Who passed the right to answer on to this person, if anybody did."""
    return next((each.by.name for each in reversed(pause.delegations) if each.to == name), None)


def _holders(pause: PauseState) -> dict[str, bool]:
    """Everybody that delegations are about: whether they hold the right to answer now."""
    holders: dict[str, bool] = {}
    for each in pause.delegations:
        holders[each.by.name] = False
        holders[each.to] = True
    return holders


def _names(assignee: str, who: Answerer) -> bool:
    kind, is_kind, name = assignee.partition(":")
    if not is_kind:
        return assignee == who.name and not who.anonymous
    match kind:
        case "user":
            return name == who.name and not who.anonymous
        case "group":
            return name in who.groups
        case "scope":
            return name in who.scopes
        case _:
            return False
