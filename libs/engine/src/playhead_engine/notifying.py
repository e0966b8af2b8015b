"""Who is told about a pause, and what follows when telling did not work."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Literal

import msgspec

from playhead_contracts.events import (
    Actor,
    PauseEscalated,
    PauseExpired,
    PauseReminded,
    PauseRequested,
    PauseResolved,
)
from playhead_contracts.ids import WorkflowId
from playhead_engine.pauses import Answerer, is_asked
from playhead_engine.state import PauseState

ASKING = frozenset(kind.type_name() for kind in (PauseRequested, PauseReminded, PauseEscalated))
"""Events by which people are asked for an answer: pointless once there is one."""
OVER = frozenset(kind.type_name() for kind in (PauseResolved, PauseExpired))
"""Events after which a pause takes no answer."""
TOLD = ASKING | OVER
"""The types of events that webhooks are told of."""

JITTER = 0.2
"""A retry comes up to this much later than planned, so that those who failed together do not come back together."""
_GONE = 410
_ASK_FOR_TIME = frozenset({429, 503})


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """Which events a webhook wants: of these types, of these workflows (None: of all), after this position."""

    name: str
    events: frozenset[str]
    workflows: frozenset[str] | None = None
    since_position: int = 0
    is_disabled: bool = False


def who_is_told(
    wishes: Iterable[Wish], notify: Sequence[str], event_type: str, workflow_id: WorkflowId, position: int
) -> tuple[list[str], list[str]]:
    """The names of the webhooks that are told of an event, and the names in `notify` that nobody has.

    A pause that names webhooks means those, whatever workflows they are for, and even if they are disabled or were made
    later: its author should see what became of it. Else all are told that want such events.
    """
    known = {wish.name: wish for wish in wishes}
    if notify:
        names = list(dict.fromkeys(notify))
        told = [name for name in names if name in known and event_type in known[name].events]
        return told, [name for name in names if name not in known]
    return [
        wish.name
        for wish in known.values()
        if event_type in wish.events
        and not wish.is_disabled
        and position > wish.since_position
        and (wish.workflows is None or workflow_id in wish.workflows)
    ], []


def people_asked(pause: PauseState) -> tuple[str, ...] | None:
    """Who gets a link of their own to the page of a pause: the names of those who may answer. Empty: one link that
    names nobody. None: no link, because only groups and scopes are asked, or it matters who answers.
    """
    if not pause.assignees:
        nobody = Answerer(actor=Actor(kind="person", name=""), anonymous=True)
        return () if is_asked(pause, nobody) else None
    named = [name for assignee in pause.assignees if (name := _person(assignee)) is not None]
    candidates = dict.fromkeys([*named, *(delegation.to for delegation in pause.delegations)])
    people = [name for name in candidates if is_asked(pause, Answerer(actor=Actor(kind="person", name=name)))]
    return tuple(people) or None


def _person(assignee: str) -> str | None:
    kind, colon, name = assignee.partition(":")
    if not colon:
        return assignee
    return name if kind == "user" else None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What came of sending: the status of the answer, or why there was none."""

    status: int | None = None
    error: str | None = None
    retry_after: timedelta | None = None
    """How long the receiver asked to be left alone."""
    is_final: bool = False
    """Trying again would change nothing."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from an attempt. `retry_in` says when the next one is, unless this was the last."""

    outcome: Literal["delivered", "failed"] | None
    error: str | None = None
    retry_in: timedelta | None = None
    disables: bool = False
    """The receiver does not want to be told any more."""


def judge(attempt: Attempt, tries: int, schedule: Sequence[timedelta], chance: float) -> Verdict:
    """What follows from try number `tries` (from 1) of a round, by Standard Webhooks 1.0.0.

    `schedule` has the time before each further try; `chance`, from 0 to 1, is how much of the jitter is added. Only 2xx
    is a success: redirects are not followed, so they have not arrived.
    """
    if attempt.status is not None and 200 <= attempt.status < 300:
        return Verdict(outcome="delivered")
    error = attempt.error or f"it answered {attempt.status}"
    if attempt.status == _GONE:
        return Verdict(outcome="failed", error=f"{error} Gone, and wants to be told no more", disables=True)
    if attempt.is_final or tries > len(schedule):
        return Verdict(outcome="failed", error=error)
    retry_in = schedule[tries - 1] * (1 + JITTER * chance)
    if attempt.retry_after is not None and attempt.status in _ASK_FOR_TIME:
        retry_in = max(retry_in, attempt.retry_after)
    return Verdict(outcome=None, error=error, retry_in=retry_in)
