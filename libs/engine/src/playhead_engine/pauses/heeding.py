"""What a pause comes to: an answer, a reminder, or the end of its time."""

from datetime import datetime, timedelta

from playhead_contracts.events import BlockError, Expiry, Json, PauseEscalated, PauseExpired, PauseReminded
from playhead_engine.state import PauseState


def outputs_of(pause: PauseState) -> dict[str, Json]:
    """What an answered pause, or one with an answer for when its time is over, gives. What people submit is in
    `answer`, so that it cannot pass for anything else."""
    outputs: dict[str, Json] = {
        "answer": pause.answer or {},
        "action": pause.action,
        "decided_by": pause.resolved_by.name if pause.resolved_by is not None and pause.status == "answered" else None,
        "decided_at": None if pause.resolved_at is None else moment(pause.resolved_at),
        "comment": pause.comment,
    }
    if pause.on_behalf_of is not None:
        outputs["on_behalf_of"] = pause.on_behalf_of
    if pause.quorum is not None:
        outputs["votes"] = [
            {
                "by": vote.by.name,
                "at": moment(vote.at),
                "action": vote.action,
                "answer": vote.answer,
                "comment": vote.comment,
            }
            for vote in pause.votes
        ]
    if pause.status == "expired":
        outputs["expired"] = True
    return outputs


def remind(pause: PauseState, at: datetime) -> PauseReminded | None:
    """The reminder, if it is due."""
    if pause.remind_at is None or pause.expires_at is None or not pause.remind_at <= at < pause.expires_at:
        return None
    return PauseReminded(pause_id=pause.pause_id, path=pause.path, expires_at=pause.expires_at)


def expire(pause: PauseState, at: datetime) -> PauseExpired | PauseEscalated | None:
    """What the end of its time makes of an open pause, if that has come."""
    if pause.expires_at is None or pause.expires_at > at:
        return None
    match pause.on_expiry:
        case None:
            return PauseExpired(pause_id=pause.pause_id, path=pause.path, expired_at=pause.expires_at)
        case Expiry(kind="answer"):
            return PauseExpired(
                pause_id=pause.pause_id,
                path=pause.path,
                expired_at=pause.expires_at,
                outcome="answered",
                answer=pause.on_expiry.answer,
                action=pause.on_expiry.action,
            )
        case Expiry():
            seconds = pause.on_expiry.after_seconds
            return PauseEscalated(
                pause_id=pause.pause_id,
                path=pause.path,
                assignees=pause.on_expiry.assignees,
                expires_at=None if seconds is None else at + timedelta(seconds=seconds),
                on_expiry=pause.on_expiry.then,
            )


def unanswered(pause: PauseState) -> BlockError:
    """Why the block of a pause fails when nobody has answered."""
    assert pause.expires_at is not None
    return BlockError(type="pause_expired", message=f"Nobody answered by {moment(pause.expires_at)}")


def moment(at: datetime) -> str:
    """RFC 3339, in UTC."""
    return at.isoformat().replace("+00:00", "Z")
