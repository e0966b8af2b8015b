"""From a pause to the page that somebody sees who holds a link to it. Nothing else of its execution is looked at."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from playhead_contracts.errors import Fault
from playhead_contracts.events import Actor
from playhead_engine.pauses import asked_now, votes_missing
from playhead_engine.pauses.answering import actions_of
from playhead_engine.state import PauseState, Vote
from playhead_gateway.page import wording
from playhead_gateway.page.controls import Control, control_of, flat
from playhead_gateway.page.pause_form import PauseForm, answer_shown
from playhead_gateway.page.rendering import Asked, Button, Moment, Notice, Outcome, Question, Said
from playhead_gateway.page.shown import labelled
from playhead_gateway.page.submitted import Submitted
from playhead_gateway.page.typed import MAIN, Typed, of_action


class Viewer(msgspec.Struct, frozen=True):
    """Whoever looks at the page. `subject` is None for somebody whom nobody knows."""

    actor: Actor
    subject: str | None
    now: datetime


class Entered(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the form, and what is wrong with it."""

    typed: Typed
    comment: str = ""
    focus: str | None = None
    said: Submitted | None = None
    faults: Sequence[Fault] = ()


def question(
    pause: PauseState, form: PauseForm, viewer: Viewer, entered: Entered, notice: Notice | None = None
) -> Question:
    """The page on which `viewer` can answer."""
    errors = _errors(entered)
    main, buttons = form.main, list[Button]()
    shown = None if main is None else control_of(main, MAIN, entered.typed, errors, entered.focus)
    for action in actions_of(pause).values():
        own = form.own(action)
        control = None if own is None else control_of(own, of_action(action.name), entered.typed, errors, entered.focus)
        buttons.append(Button(name=action.name, label=wording.action_label(action), denies=action.denies, form=control))
    controls = [control for control in (shown, *(button.form for button in buttons)) if control is not None]
    if entered.faults:
        notice = _notice_of_faults(entered, controls)
    return msgspec.structs.replace(
        reading(pause, viewer, notice),
        digest=pause.digest,
        form=shown,
        buttons=tuple(buttons),
        has_required=any(control.is_required for root in controls for _, control in flat(root)),
        comment=entered.comment,
    )


def reading(pause: PauseState, viewer: Viewer, notice: Notice | None = None) -> Question:
    """The question for somebody who may not answer it."""
    until, people = pause.expires_at, asked_now(pause)
    return Question(
        asked=_asked(pause),
        subject=viewer.subject,
        until=None if until is None else _moment(until),
        until_words="" if until is None else wording.left(until, viewer.now),
        people="" if viewer.subject is not None or not people else wording.names(people),
        notice=notice,
        quorum=_quorum(pause),
        votes=_votes(pause, viewer),
    )


def outcome(pause: PauseState, viewer: Viewer, notice: Notice | None = None) -> Outcome:
    """What became of a pause that is over, or what `viewer` has voted on one that is not."""
    mine = vote_of(pause, viewer.actor)
    asked, votes = _asked(pause), _votes(pause, viewer)
    answer = answer_shown(pause)
    match pause.status:
        case "answered":
            who, what = wording.who(pause.resolved_by, viewer.actor), wording.decided(pause, pause.action)
            said = Said(who=who, what=what, at=_moment(pause.resolved_at), comment=pause.comment or "")
            taken = actions_of(pause).get(pause.action or "")
            is_good = taken is None or not taken.denies
            return Outcome(
                title=f"{who} {what}", asked=asked, said=said, answer=answer, notice=notice, votes=votes,
                is_good=is_good,
            )  # fmt: skip
        case "expired" if pause.answer is not None or pause.action is not None:
            how = "" if pause.action is None else f": {wording.label_of(pause, pause.action)}"
            return Outcome(
                title="Nobody answered in time",
                text=f"It was decided as had been laid down beforehand{how}.",
                asked=asked,
                answer=answer,
                notice=notice,
            )
        case "open" if mine is not None:
            missing = votes_missing(pause, mine.action)
            others = f"{missing} more {'person' if missing == 1 else 'people'} must say the same before it counts."
            said = Said(who="You", what=_voted(pause, mine), at=_moment(mine.at), comment=mine.comment or "")
            return Outcome(
                title="Your vote is recorded", text=others, asked=asked, said=said, notice=notice,
                quorum=_quorum(pause), votes=votes, is_good=True,
            )  # fmt: skip
        case "closed":
            text = "It is no longer needed: what it was asked for has ended. Nothing is left to do here."
            return Outcome(title="This was closed without an answer", text=text, asked=asked, notice=notice)
        case "expired" | "open":
            text = "Nobody answered in time. Nothing is left to do here."
            return Outcome(title="The time for an answer is over", text=text, asked=asked, notice=notice)


def vote_of(pause: PauseState, actor: Actor) -> Vote | None:
    """What somebody has voted."""
    return next((vote for vote in pause.votes if vote.by.name == actor.name), None)


def _asked(pause: PauseState) -> Asked:
    return Asked(message=pause.message, details=labelled(pause.show, pause.labels, pause.order))


def _quorum(pause: PauseState) -> str:
    if pause.quorum is None:
        return ""
    needed = pause.quorum.needed
    people = "1 person decides" if needed == 1 else f"{needed} people must say the same before it counts"
    veto = "; a single no is enough to say no" if pause.quorum.deny_vetoes and needed > 1 else ""
    return f"{people}{veto}. {len(pause.votes) or 'Nobody'} voted so far."


def _votes(pause: PauseState, viewer: Viewer) -> tuple[Said, ...]:
    if pause.quorum is None:
        return ()
    return tuple(
        Said(who=wording.who(vote.by, viewer.actor), what=_voted(pause, vote), at=_moment(vote.at))
        for vote in pause.votes
    )


def _voted(pause: PauseState, vote: Vote) -> str:
    return f"voted “{wording.label_of(pause, vote.action)}”"


def _moment(at: datetime | None) -> Moment | None:
    return None if at is None else Moment(wording.moment(at), at.isoformat())


def _errors(entered: Entered) -> Mapping[str, Sequence[str]]:
    """What is wrong, in words, by the control it belongs to."""
    found: dict[str, list[str]] = {}
    for fault in entered.faults:
        name = None if entered.said is None else entered.said.name_of(fault)
        words = wording.sentence(wording.fault_words(fault.detail))
        if name is not None and words not in found.setdefault(name, []):
            found[name].append(words)
    return found


def _notice_of_faults(entered: Entered, controls: Sequence[Control]) -> Notice:
    places = {control.name: (label, control.target) for root in controls for label, control in flat(root)}
    order = list(places)
    found: dict[tuple[str, str | None], int] = {}
    for fault in entered.faults:
        name = (None if entered.said is None else entered.said.name_of(fault)) or ""
        words = wording.fault_words(fault.detail)
        label, target = places.get(name, ("", None))
        told = f"{label}: {words}" if label else wording.sentence(words)
        found[told, target] = order.index(name) if name in places else -1
    several = len(found) > 1
    title = "Nothing is decided yet: " + ("some things are not right" if several else "one thing is not right")
    return Notice(title=title, faults=tuple(sorted(found, key=lambda each: found[each])))
