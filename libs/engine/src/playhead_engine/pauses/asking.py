"""What a `human` block asks, of whom, and until when. Whatever cannot be made out fails the block: never a pass."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import cast

import msgspec

from playhead_contracts.errors import PlayheadError
from playhead_contracts.events import BlockError, Expiry, Json, PauseAction, PauseRequested, Quorum
from playhead_contracts.human import ExpiryAction, ExpiryAnswer, ExpiryEscalation, HumanAction, HumanBlock, OnExpiry
from playhead_contracts.ids import BlockPath, PauseId
from playhead_engine.state import ExecutionState

_DENYING = frozenset({"deny", "reject"})
_LONGEST_NAME = 200


class CannotAsk(PlayheadError):
    """The pause cannot be opened as its author wrote it."""

    def __init__(self, kind: str, message: str, field: str):
        super().__init__(message)
        self.error = BlockError(type=kind, message=message, details={"field": field})


def ask(
    block: HumanBlock,
    path: BlockPath,
    resolved: dict[str, Json],
    state: ExecutionState,
    pause_id: PauseId,
    at: datetime,
) -> PauseRequested:
    """The question, from the fields of the block as they were resolved. Raises CannotAsk."""
    message, show = str(resolved["message"]), cast("dict[str, Json]", resolved["show"])
    actions = tuple(_action(name, action) for name, action in block.decisions.items())
    expires_at = _end(block, resolved.get("expires_at"), at)
    remind_at = None
    if expires_at is not None and block.remind_before is not None:
        remind_at = max(at, expires_at - block.remind_before)
    return PauseRequested(
        pause_id=pause_id,
        path=path,
        message=message,
        digest=proposal_digest(message, show, block.form, actions),
        form=block.form,
        show=show,
        order=() if list(show) == sorted(show) else tuple(show),
        labels=block.labels,
        actions=actions,
        assignees=_assignees(block, cast("list[Json]", resolved.get("assignees", []))),
        barred=(state.starter.name,) if block.no_self_approval else (),
        quorum=None if block.quorum is None else Quorum(block.quorum.needed, block.quorum.deny_vetoes),
        expires_at=expires_at,
        remind_at=remind_at,
        on_expiry=_expiry(block.on_expiry, actions),
        notify=tuple(block.notify),
    )


def proposal_digest(
    message: str, show: dict[str, Json], form: dict[str, Json] | None, actions: Sequence[PauseAction] = ()
) -> str:
    """sha256 over the canonical JSON of what a person is shown and asked."""
    shown: dict[str, Json] = {"message": message, "show": show, "form": form}
    if actions:
        shown["actions"] = actions
    return "sha256:" + sha256(msgspec.json.encode(shown, order="sorted")).hexdigest()


def denies(name: str, action: HumanAction) -> bool:
    """Whether an action says no."""
    return name in _DENYING if action.denies is None else action.denies


def _action(name: str, action: HumanAction) -> PauseAction:
    return PauseAction(name=name, label=action.label, denies=denies(name, action), form=action.form)


def _assignees(block: HumanBlock, resolved: Sequence[Json]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for written, value in zip(block.assignees, resolved, strict=True):
        names = cast("list[Json]", value) if isinstance(value, list) else [value]
        for name in names:
            if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME:
                raise CannotAsk(
                    "assignee_invalid", f"assignees: {written!r} gives {name!r}, which is no name", "assignees"
                )
            found[name] = None
    if block.assignees and not found:
        # Without this, a pause for nobody would be a pause for everybody.
        raise CannotAsk("assignee_invalid", "assignees: nobody is left who could answer", "assignees")
    return tuple(found)


def _end(block: HumanBlock, text: Json, at: datetime) -> datetime | None:
    if block.expires_in is not None:
        return at + block.expires_in
    if block.expires_at is None:
        return None
    try:
        end = datetime.fromisoformat(str(text))
    except ValueError as wrong:
        raise CannotAsk("expiry_invalid", f"expires_at: {text!r}: {wrong}", "expires_at") from wrong
    if end.tzinfo is None:
        raise CannotAsk("expiry_invalid", f"expires_at: {text} has no time zone; write it as ...Z", "expires_at")
    return end


def _expiry(on_expiry: OnExpiry, actions: Sequence[PauseAction]) -> Expiry | None:
    match on_expiry:
        case "fail":
            return None
        case ExpiryAnswer():
            approved = on_expiry.answer.get("approved")
            action = on_expiry.action
            if action is None and not actions and isinstance(approved, bool):
                action = "approve" if approved else "deny"
            return Expiry("answer", answer=on_expiry.answer, action=action)
        case ExpiryAction(action=action):
            answer: dict[str, Json] = {} if actions else {"approved": action == "approve"}
            return Expiry("answer", answer=answer, action=action)
        case ExpiryEscalation():
            seconds = None if on_expiry.expires_in is None else on_expiry.expires_in.total_seconds()
            return Expiry(
                "escalate",
                assignees=tuple(on_expiry.escalate),
                after_seconds=seconds,
                then=_expiry(on_expiry.on_expiry, actions),
            )
