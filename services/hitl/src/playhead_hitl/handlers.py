"""One request about a pause: load, fold, decide, append; only then tell anybody."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import (
    AnswerPause,
    DelegatePause,
    ExtendPause,
    PauseAnswered,
    PauseChanged,
    Resume,
)
from playhead_contracts.errors import VersionConflict
from playhead_contracts.events import Actor, EventData, NewEvent, PauseNotified, PauseResolved, PauseVoted
from playhead_contracts.ids import EventId, ExecutionId, PauseId, TenantId, execution_stream
from playhead_engine.folding import EXECUTIONS
from playhead_engine.pauses import (
    Answer,
    Answerer,
    PauseUnknown,
    decide_answer,
    decide_delegation,
    decide_extension,
    decide_notified,
    votes_missing,
)
from playhead_engine.privacy import seal_of
from playhead_engine.state import ExecutionState
from playhead_eventlog import EventLog
from playhead_runtime.bus import Bus
from playhead_runtime.clock import Clock
from playhead_runtime.ids import new_id
from playhead_runtime.live import nudge_owner, tell
from playhead_runtime.spans import about as trace_about
from playhead_runtime.spans import publishing
from playhead_runtime.tracing import current_traceparent


class Hitl(msgspec.Struct, frozen=True):
    """What the handlers work with."""

    log: EventLog
    bus: Bus
    clock: Clock


class About(msgspec.Struct, frozen=True):
    """Which pause a request is about, and whose it is."""

    tenant: TenantId
    execution_id: ExecutionId
    pause_id: PauseId
    actor: Actor


class _Decided(msgspec.Struct, frozen=True):
    """The state in which it was decided, and the facts, which hold at `version`. No facts: it held before."""

    state: ExecutionState
    facts: Sequence[EventData]
    version: int
    at: datetime


_Decide = Callable[[ExecutionState], Sequence[EventData]]
_Then = Callable[[ExecutionState, Sequence[EventData]], Awaitable[None]]


async def answer_pause(command: AnswerPause, hitl: Hitl) -> PauseAnswered:
    """Let an answer win, or tell that this very answer already did.

    Refusals are those of `decide_answer`; another tenant's execution is as unknown as one that never was. The resume
    command is sent again for a repeated answer: should the first have been lost, this mends it at once.
    """
    who = Answerer(
        actor=command.actor,
        groups=frozenset(command.groups),
        scopes=frozenset(command.scopes),
        anonymous=command.anonymous,
    )
    answer = Answer(
        values=command.answer,
        who=who,
        action=command.action,
        comment=command.comment,
        digest=command.digest,
        key=command.key,
    )
    decided = await _append(
        hitl,
        _about(command),
        lambda state: decide_answer(state, command.pause_id, answer, at=hitl.clock.now()),
        lambda state, facts: _set_going(hitl, state, command.pause_id, facts),
    )
    return _standing(decided, command)


async def extend_pause(command: ExtendPause, hitl: Hitl) -> PauseChanged:
    """Give people more time. Refusals are those of `decide_extension`."""
    decided = await _append(
        hitl,
        _about(command),
        lambda state: decide_extension(
            state,
            command.pause_id,
            command.expires_at,
            command.actor,
            hitl.clock.now(),
            is_operator=command.is_operator,
            reason=command.reason,
        ),
    )
    return PauseChanged(version=decided.version, repeated=not decided.facts)


async def delegate_pause(command: DelegatePause, hitl: Hitl) -> PauseChanged:
    """Pass the right to answer on. Refusals are those of `decide_delegation`."""
    who = Answerer(actor=command.actor, groups=frozenset(command.groups), scopes=frozenset(command.scopes))
    decided = await _append(
        hitl,
        _about(command),
        lambda state: decide_delegation(
            state, command.pause_id, command.to, who, hitl.clock.now(), reason=command.reason
        ),
    )
    return PauseChanged(version=decided.version, repeated=not decided.facts)


async def note_notified(about: About, notified: PauseNotified, hitl: Hitl) -> None:
    """Record what became of telling a webhook, unless the execution has ended. Raises PauseUnknown."""
    await _append(hitl, about, lambda state: decide_notified(state, notified))


def _about(command: AnswerPause | ExtendPause | DelegatePause) -> About:
    return About(command.tenant, command.execution_id, command.pause_id, command.actor)


async def _append(hitl: Hitl, about: About, decide: _Decide, then: _Then | None = None) -> _Decided:
    """Decide on the newest state and append what was decided, as often as somebody else's fact comes first.

    `then` comes after the append, and before anybody is told; it comes, too, when there was nothing to append.
    """
    stream = execution_stream(about.execution_id)
    while True:
        state, head = await hitl.log.fold(stream, EXECUTIONS)
        if state is None or state.tenant != about.tenant:
            raise PauseUnknown(about.pause_id)
        trace_about(state)
        facts, now = decide(state), hitl.clock.now()
        if not facts:
            if then is not None:
                await then(state, facts)
            return _Decided(state, facts, state.version, now)
        new = [
            NewEvent(
                id=EventId(new_id()),
                data=fact,
                tenant=state.tenant,
                workflow_id=state.workflow_id,
                execution_id=state.execution_id,
                actor=about.actor,
                recorded_at=now,
                traceparent=current_traceparent() or state.traceparent,
                seal=seal_of(state.personal, fact),
            )
            for fact in facts
        ]
        try:
            appended = await hitl.log.append(stream, head, new)
        except VersionConflict:
            continue  # somebody else's fact came first: fold it, decide again
        if then is not None:
            await then(state, facts)
        await tell(hitl.bus, state.tenant, state.execution_id, appended.frames)
        return _Decided(state, facts, appended.head.version, now)


def _standing(decided: _Decided, command: AnswerPause) -> PauseAnswered:
    pause = decided.state.pauses[command.pause_id]
    if decided.facts:
        first = decided.facts[0]
        assert isinstance(first, PauseResolved | PauseVoted)
        is_decided = any(isinstance(fact, PauseResolved) for fact in decided.facts)
        return PauseAnswered(
            version=decided.version,
            repeated=False,
            answered_by=command.actor,
            answered_at=decided.at,
            action=first.action,
            missing=0 if is_decided else votes_missing(pause, first.action) - 1,
        )
    mine = next((vote for vote in pause.votes if vote.by.name == command.actor.name), None)
    if mine is not None:
        return PauseAnswered(
            version=pause.resolved_version or decided.version,
            repeated=True,
            answered_by=mine.by,
            answered_at=mine.at,
            action=mine.action,
            missing=votes_missing(pause, mine.action),
        )
    return PauseAnswered(
        version=pause.resolved_version or decided.version,
        repeated=True,
        answered_by=pause.resolved_by or command.actor,
        answered_at=pause.resolved_at or decided.state.updated_at,
        action=pause.action,
    )


async def _set_going(hitl: Hitl, state: ExecutionState, pause_id: PauseId, facts: Sequence[EventData]) -> None:
    """Nudge whoever is to go on. Not waited for: the log holds the answer, and the reconciler finds what is due."""
    is_decided = state.pauses[pause_id].status == "answered" or any(isinstance(fact, PauseResolved) for fact in facts)
    if state.is_ended or not is_decided:
        return
    await nudge_owner(hitl.bus, state.owner, state.execution_id)
    resume_id, subject = f"resume:{pause_id}", subjects.execution_command(state.tenant, Resume.kind())
    with publishing(subject, resume_id, state.execution_id):
        resume = Resume(
            id=resume_id,
            tenant=state.tenant,
            execution_id=state.execution_id,
            pause_id=pause_id,
            traceparent=current_traceparent(),
        )
        await hitl.bus.send_soon(subject, msgspec.json.encode(resume), resume.id)
