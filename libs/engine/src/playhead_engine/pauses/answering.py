"""Everything about answering a pause is on this one page: which answer counts, and what each of the others is told."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from playhead_contracts.errors import Conflict, Fault, InvalidInput
from playhead_contracts.events import Json, PauseAction, PauseResolved, PauseVoted
from playhead_contracts.ids import PauseId
from playhead_contracts.pointers import pointer
from playhead_engine.pauses.refusals import check_open, find_pause
from playhead_engine.pauses.rights import Answerer, check_may_answer, on_behalf_of
from playhead_engine.schemas import faults_of, with_defaults
from playhead_engine.state import ExecutionState, PauseState, Vote

APPROVE, DENY = PauseAction("approve"), PauseAction("deny", denies=True)
"""What can be decided about a pause that names no actions."""
_SAID_BY_ACTION = frozenset({"approved", "reason"})


class PauseAlreadyAnswered(Conflict):
    problem, title = "pause-already-answered", "This pause was answered differently"

    def __init__(self, pause: PauseState):
        who = pause.resolved_by.name if pause.resolved_by else "somebody"
        when = pause.resolved_at.isoformat() if pause.resolved_at else "before"
        super().__init__(
            f"pause {pause.pause_id} was answered by {who} at {when}; the answer stands",
            facts={
                "decided_by": who,
                "decided_at": when,
                "action": pause.action,
                "answer": pause.answer,
                "comment": pause.comment,
            },
        )


class VoteStands(Conflict):
    problem, title = "vote-stands", "You have voted differently"

    def __init__(self, pause: PauseState, vote: Vote):
        super().__init__(
            f"{vote.by.name} voted on pause {pause.pause_id} at {vote.at.isoformat()}; the vote stands",
            facts={"decided_by": vote.by.name, "decided_at": vote.at.isoformat(), "action": vote.action},
        )


class ProposalChanged(Conflict):
    problem, title = "proposal-changed", "What was shown is not what is asked"

    def __init__(self, pause: PauseState):
        super().__init__(
            f"the answer is to another proposal than the one pause {pause.pause_id} shows; look again",
            facts={"digest": pause.digest},
        )


class AnswerDoesNotFit(InvalidInput):
    problem, title = "answer-does-not-fit", "The answer does not fit the form"

    def __init__(self, pause_id: str, faults: tuple[Fault, ...]):
        super().__init__(f"the answer does not fit the form of pause {pause_id}", errors=faults)


class KeyUsedDifferently(InvalidInput):
    problem, title = "idempotency-key-reused", "This Idempotency-Key stands for another answer"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody says to a pause. `digest` is that of the proposal they saw, if they say so."""

    values: dict[str, Json]
    who: Answerer
    action: str | None = None
    comment: str | None = None
    digest: str | None = None
    key: str | None = None
    """Digest of their Idempotency-Key."""


class _Said(msgspec.Struct, frozen=True):
    """An answer as it counts: `action` is None if nothing says whether it approves."""

    action: str | None
    values: dict[str, Json]
    comment: str | None


def decide_answer(
    state: ExecutionState, pause_id: PauseId, answer: Answer, at: datetime
) -> list[PauseVoted | PauseResolved]:
    """Decide what an answer makes true: one `pause.resolved`, or nothing if this very answer was taken before.

    Where several people must agree it is a `pause.voted`, followed by `pause.resolved` if it is the one that decides.
    `at` is the moment of the answer, UTC. Raises PauseUnknown, NotAnAssignee, SelfApproval, NotNamed,
    PauseAlreadyAnswered, VoteStands, PauseExpiredAlready, PauseClosed, ProposalChanged, AnswerDoesNotFit or
    KeyUsedDifferently.
    """
    pause = find_pause(state, pause_id)
    check_may_answer(pause, answer.who)
    before = _answered_before(pause, answer)
    if before:
        return []
    check_open(state, pause, at)
    if answer.digest is not None and answer.digest != pause.digest:
        raise ProposalChanged(pause)
    said = _checked(pause, answer)
    deputy = on_behalf_of(pause, answer.who.name)
    resolved = PauseResolved(
        pause_id=pause_id,
        path=pause.path,
        resolution="answered",
        answer=said.values,
        action=said.action,
        comment=said.comment,
        digest=pause.digest,
        key=answer.key,
        on_behalf_of=deputy,
    )
    if pause.quorum is None:
        return [resolved]
    voted = PauseVoted(
        pause_id=pause_id,
        path=pause.path,
        action=said.action,
        answer=said.values,
        comment=said.comment,
        digest=pause.digest,
        key=answer.key,
        on_behalf_of=deputy,
    )
    return [voted, resolved] if votes_missing(pause, said.action) <= 1 else [voted]


def votes_missing(pause: PauseState, action: str | None) -> int:
    """How many people must still take this action before it counts; 0 if it has been decided."""
    if pause.quorum is None or pause.status != "open":
        return 0
    taken = actions_of(pause).get(action or "")
    if taken is not None and taken.denies and pause.quorum.deny_vetoes:
        return 1
    return pause.quorum.needed - sum(vote.action == action for vote in pause.votes)


def actions_of(pause: PauseState) -> Mapping[str, PauseAction]:
    """What can be decided, by name."""
    return {action.name: action for action in pause.actions or (APPROVE, DENY)}


def _answered_before(pause: PauseState, answer: Answer) -> bool:
    """Whether this very answer was taken. Raises PauseAlreadyAnswered, VoteStands, KeyUsedDifferently."""
    mine = next((vote for vote in pause.votes if vote.by.name == answer.who.name), None)
    if mine is not None:
        if _is_same(pause, answer, mine.action, mine.answer):
            return True
        _check_key(answer, mine.key)
        raise VoteStands(pause, mine)
    if pause.status != "answered":
        return False
    if _is_same(pause, answer, pause.action, pause.answer):
        return True
    _check_key(answer, pause.key)
    raise PauseAlreadyAnswered(pause)


def _is_same(pause: PauseState, answer: Answer, action: str | None, values: dict[str, Json] | None) -> bool:
    try:
        said = _checked(pause, answer)
    except InvalidInput:
        return False
    return (said.action, said.values) == (action, values)


def _check_key(answer: Answer, key: str | None) -> None:
    if key is not None and key == answer.key:
        raise KeyUsedDifferently(
            "this Idempotency-Key came with another answer before; take a new key for a new answer"
        )


def _checked(pause: PauseState, answer: Answer) -> _Said:
    """The answer as it counts. Raises AnswerDoesNotFit."""
    action = _action_of(pause, answer)
    form = action.form if action is not None and action.form is not None else pause.form
    fields = _fields(form)
    values, comment = dict(answer.values), answer.comment
    if pause.actions:
        # The action says it; what only repeats it is no part of the answer.
        if "approved" not in fields:
            values.pop("approved", None)
        if "reason" not in fields and isinstance(values.get("reason"), str):
            comment = comment or str(values.pop("reason"))
    elif action is not None and answer.action is not None and (form is None or "approved" in fields):
        values.setdefault("approved", not action.denies)
    faults = _contradictions(pause, action, values)
    is_waived = (
        action is not None
        and action.denies
        and action.form is None
        and (answer.action is not None or bool(pause.actions))
        and values.keys() <= _SAID_BY_ACTION
    )
    if form is not None and not is_waived:
        values = with_defaults(form, values)
        faults += faults_of(form, values)
    elif form is None:
        faults += _plain_faults(values)
    if faults:
        raise AnswerDoesNotFit(pause.pause_id, faults)
    return _Said(None if action is None else action.name, values, comment)


def _action_of(pause: PauseState, answer: Answer) -> PauseAction | None:
    known = actions_of(pause)
    if answer.action is not None:
        if answer.action not in known:
            raise _no_such_action(pause, f"there is no action {answer.action!r}")
        return known[answer.action]
    approved = answer.values.get("approved")
    if isinstance(approved, bool):
        fitting = [action for action in known.values() if action.denies is not approved]
        if len(fitting) == 1:
            return fitting[0]
    if not pause.actions:
        return None
    if len(known) == 1:
        return next(iter(known.values()))
    raise _no_such_action(pause, "the answer does not say which action it is")


def _no_such_action(pause: PauseState, detail: str) -> AnswerDoesNotFit:
    return AnswerDoesNotFit(
        pause.pause_id, (Fault(pointer("action"), detail, f"one of {', '.join(actions_of(pause))}"),)
    )


def _contradictions(pause: PauseState, action: PauseAction | None, values: dict[str, Json]) -> tuple[Fault, ...]:
    approved = values.get("approved")
    if pause.actions or action is None or not isinstance(approved, bool) or approved is not action.denies:
        return ()
    return (Fault(pointer("approved"), f"says the contrary of the action {action.name!r}"),)


def _plain_faults(values: dict[str, Json]) -> tuple[Fault, ...]:
    found: list[Fault] = []
    if not isinstance(values.get("approved", True), bool):
        found.append(Fault(pointer("approved"), "should be true or false"))
    if not isinstance(values.get("reason", ""), str):
        found.append(Fault(pointer("reason"), "should be text"))
    return tuple(found)


def _fields(form: Json) -> frozenset[str]:
    properties: Json = form.get("properties") if isinstance(form, dict) else None  # pyright: ignore
    return frozenset(properties) if isinstance(properties, dict) else frozenset()  # pyright: ignore
