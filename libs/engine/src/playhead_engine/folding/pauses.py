"""What facts about pauses change."""

from datetime import datetime
from typing import Any

import msgspec

from playhead_contracts.events import (
    Actor,
    PauseDelegated,
    PauseEscalated,
    PauseExpired,
    PauseExtended,
    PauseNotified,
    PauseReminded,
    PauseRequested,
    PauseResolved,
    PauseVoted,
)
from playhead_engine.folding.settling import ImpossibleEvent, hold
from playhead_engine.state import BlockState, BlockStatus, Delegation, ExecutionState, PauseState, Vote


def pause_requested(state: ExecutionState, data: PauseRequested, at: datetime, _: Actor) -> None:
    state.pauses[data.pause_id] = PauseState(
        pause_id=data.pause_id,
        path=data.path,
        status="open",
        message=data.message,
        digest=data.digest,
        requested_at=at,
        form=data.form,
        show=data.show,
        order=data.order,
        labels=data.labels,
        actions=data.actions,
        assignees=data.assignees,
        barred=data.barred,
        quorum=data.quorum,
        expires_at=data.expires_at,
        remind_at=data.remind_at,
        on_expiry=data.on_expiry,
        notify=data.notify,
    )
    hold(
        state,
        BlockState(
            path=data.path,
            status=BlockStatus.PAUSED,
            started_at=at,
            pause_id=data.pause_id,
            version=state.version,
        ),
    )


def pause_voted(state: ExecutionState, data: PauseVoted, at: datetime, actor: Actor) -> None:
    pause = _open_pause(state, data)
    if any(vote.by.name == actor.name for vote in pause.votes):
        raise ImpossibleEvent(data, state)
    vote = Vote(
        by=actor,
        at=at,
        action=data.action,
        answer=data.answer,
        comment=data.comment,
        on_behalf_of=data.on_behalf_of,
        key=data.key,
    )
    _change(state, pause, votes=(*pause.votes, vote))


def pause_resolved(state: ExecutionState, data: PauseResolved, at: datetime, actor: Actor) -> None:
    _change(
        state,
        _open_pause(state, data),
        status=data.resolution,
        answer=data.answer,
        action=data.action,
        comment=data.comment,
        on_behalf_of=data.on_behalf_of,
        key=data.key,
        reason=data.reason,
        resolved_by=actor,
        resolved_at=at,
        resolved_version=state.version,
    )
    if data.resolution == "answered":
        state.unheeded += 1


def pause_expired(state: ExecutionState, data: PauseExpired, at: datetime, actor: Actor) -> None:
    _change(
        state,
        _open_pause(state, data),
        status="expired",
        answer=data.answer,
        action=data.action,
        resolved_by=actor,
        resolved_at=at,
        resolved_version=state.version,
    )


def pause_escalated(state: ExecutionState, data: PauseEscalated, _at: datetime, _: Actor) -> None:
    pause = _open_pause(state, data)
    # Whoever could answer still can; where anybody could, that stays so.
    assignees = tuple(dict.fromkeys((*pause.assignees, *data.assignees))) if pause.assignees else ()
    _change(
        state,
        pause,
        assignees=assignees,
        expires_at=data.expires_at,
        remind_at=None,
        on_expiry=data.on_expiry,
        escalations=pause.escalations + 1,
    )


def pause_reminded(state: ExecutionState, data: PauseReminded, _at: datetime, _: Actor) -> None:
    _change(state, _open_pause(state, data), remind_at=None)


def pause_extended(state: ExecutionState, data: PauseExtended, _at: datetime, _: Actor) -> None:
    _change(state, _open_pause(state, data), expires_at=data.expires_at, remind_at=data.remind_at)


def pause_delegated(state: ExecutionState, data: PauseDelegated, at: datetime, actor: Actor) -> None:
    pause = _open_pause(state, data)
    delegation = Delegation(by=actor, to=data.to, at=at, reason=data.reason)
    _change(state, pause, delegations=(*pause.delegations, delegation))


def pause_notified(state: ExecutionState, data: PauseNotified, _at: datetime, _: Actor) -> None:
    """Who was told changes nothing about the pause, which may have been answered since."""
    if data.pause_id not in state.pauses:
        raise ImpossibleEvent(data, state)


def _open_pause(state: ExecutionState, data: Any) -> PauseState:
    pause = state.pauses.get(data.pause_id)
    if pause is None or pause.status != "open":
        raise ImpossibleEvent(data, state)
    return pause


def _change(state: ExecutionState, pause: PauseState, **changes: Any) -> None:
    state.pauses[pause.pause_id] = msgspec.structs.replace(pause, **changes)
