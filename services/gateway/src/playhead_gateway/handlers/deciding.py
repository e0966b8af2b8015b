"""The page behind a link: what is asked is shown, an answer is passed on to `hitl`, and what became of it is told."""

from collections.abc import Sequence
from http import HTTPStatus

import msgspec

from playhead_contracts.commands import AnswerPause, Rejected
from playhead_contracts.errors import Fault, Forbidden, Gone, Unavailable
from playhead_contracts.events import Actor, PauseAction
from playhead_engine.pauses import Answerer
from playhead_engine.pauses.answering import actions_of
from playhead_engine.pauses.refusals import PauseExpiredAlready, check_open
from playhead_engine.pauses.rights import check_may_answer
from playhead_engine.state import PauseState, PauseStatus
from playhead_gateway.access import Caller
from playhead_gateway.bodies import media_type
from playhead_gateway.handlers.answering import ask
from playhead_gateway.handlers.loading import load_execution
from playhead_gateway.page import typed as forms
from playhead_gateway.page.pages import Entered, Viewer, outcome, question, reading, vote_of
from playhead_gateway.page.pause_form import PauseForm, form_of_pause, read_answer
from playhead_gateway.page.rendering import Notice, Outcome, Question
from playhead_gateway.page.schemas import as_object
from playhead_gateway.page.submitted import Submitted
from playhead_gateway.page.typed import Typed, parse_form, rows_of, without_row
from playhead_gateway.problems import ExecutionUnknown, PassedOn, UnsupportedMediaType
from playhead_gateway.services import Services
from playhead_runtime.links import Link, LinkInvalid

_FORM = "application/x-www-form-urlencoded"
_WHY = {
    "pause-already-answered": "It had been decided before; that decision stands.",
    "vote-stands": "You had voted before; that vote stands.",
    "pause-expired": "It came too late: the time for an answer was over.",
    "pause-closed": "It came too late: it is no longer needed.",
}
_CHANGED = Notice(
    title="What is asked has changed since you opened this page",
    text="Your decision was not recorded. Look at it again, then decide.",
)
_NOT_NOW = Notice(
    title="Your decision could not be recorded just now",
    text="What you wrote is still here. Wait a moment, then choose the button again.",
)


class Page(msgspec.Struct, frozen=True):
    """A page, and the HTTP status it comes with."""

    content: Question | Outcome
    status: int = HTTPStatus.OK


class Decided(msgspec.Struct, frozen=True):
    """The answer stands: look at the page again."""


class _Problem(msgspec.Struct, frozen=True, rename={"kind": "type"}):
    """As much of a problem document as is told."""

    kind: str
    title: str
    detail: str | None = None
    errors: tuple[Fault, ...] = ()


class _Asked(msgspec.Struct, frozen=True):
    """A pause, as whoever holds the link finds it. `refusal` is why it cannot be answered, or not by them."""

    link: Link
    pause: PauseState
    viewer: Viewer
    refusal: Gone | Forbidden | None


class _Sent(msgspec.Struct, frozen=True):
    """A form as somebody sent it."""

    asked: _Asked
    fields: PauseForm
    form: Typed

    def page(
        self,
        status: int,
        notice: Notice | None = None,
        *,
        focus: str | None = None,
        said: Submitted | None = None,
        faults: Sequence[Fault] = (),
    ) -> Page:
        """The question again, with everything that was typed."""
        comment = _said(self.form, "comment")
        entered = Entered(typed=self.form, comment=comment, focus=focus, said=said, faults=faults)
        return Page(question(self.asked.pause, self.fields, self.asked.viewer, entered, notice), status)


async def show_page(services: Services, token: str) -> Page:
    """The question, or what became of it. Raises LinkInvalid and LinkExpired; decides nothing."""
    return _page(await _load(services, token))


async def decide(services: Services, token: str, body: bytes, content_type: str | None) -> Page | Decided:
    """Take a form: an answer, or a wish to see it with a row more or less.

    Raises LinkInvalid, LinkExpired, BadRequest and UnsupportedMediaType.
    """
    if media_type(content_type) != _FORM:
        raise UnsupportedMediaType(f"send {_FORM}")
    form = parse_form(body)
    asked = await _load(services, token)
    action = actions_of(asked.pause).get(_said(form, "action"))
    if action is not None:
        return await _answer(services, token, asked, action, form)
    if asked.refusal is not None or vote_of(asked.pause, asked.viewer.actor) is not None:
        return _page(asked)
    return _looked_again(asked, form)


async def _load(services: Services, token: str) -> _Asked:
    links, now = services.settings.links(), services.clock.now()
    if links is None:
        raise LinkInvalid
    link = links.read(token, now)
    actor = Actor(kind="person", name=link.subject or f"link:{link.link_id[:8]}", channel="link")
    reader = Caller(link.tenant, actor.name, frozenset())
    try:
        state = (await load_execution(services, reader, link.execution_id)).state
    except ExecutionUnknown as exc:
        raise LinkInvalid from exc
    pause = state.pauses.get(link.pause_id)
    if pause is None:
        raise LinkInvalid
    refusal = None
    try:
        check_open(state, pause, now)
        check_may_answer(pause, _answerer(link, actor))
    except (Gone, Forbidden) as exc:
        refusal = exc
    return _Asked(link, pause, Viewer(actor, link.subject, now), refusal)


def _answerer(link: Link, actor: Actor) -> Answerer:
    return Answerer(actor=actor, groups=frozenset(link.groups), anonymous=link.subject is None)


def _page(asked: _Asked, notice: Notice | None = None, status: int = HTTPStatus.OK) -> Page:
    """The page as it is when nobody has typed anything."""
    pause, viewer = asked.pause, asked.viewer
    if isinstance(asked.refusal, Gone):
        # The log may not say it yet: its time has just passed, or its execution is ending.
        is_open = pause.status == "open"
        seen = msgspec.structs.replace(pause, status=_end_of(asked.refusal)) if is_open else pause
        return Page(outcome(seen, viewer, notice), status)
    if vote_of(pause, viewer.actor) is not None:
        return Page(outcome(pause, viewer, notice), status)
    if asked.refusal is not None:
        told = notice or Notice(title=f"{asked.refusal.title}.", text="You can read it, and not decide it.")
        return Page(reading(pause, viewer, told), status)
    form = form_of_pause(pause)
    return Page(question(pause, form, viewer, Entered(typed=form.initial()), notice), status)


def _looked_again(asked: _Asked, form: Typed) -> Page:
    """The form with what has been typed, and with a row more or less if that was asked for."""
    fields, focus, notice = form_of_pause(asked.pause), None, None
    if wanted := _said(form, "add"):
        before = set(rows_of(form, wanted))
        form = fields.with_row(form, wanted)
        added = [row for row in rows_of(form, wanted) if row not in before]
        focus = forms.child(wanted, added[0]) if added else wanted
    elif wanted := _said(form, "remove"):
        form, focus = without_row(form, wanted), wanted.rpartition("/")[0]
    else:
        notice = Notice(
            title="Nothing is decided yet", text="Choose one of the buttons below the form.", is_error=False
        )
    return _Sent(asked, fields, form).page(HTTPStatus.OK, notice, focus=focus)


async def _answer(services: Services, token: str, asked: _Asked, action: PauseAction, form: Typed) -> Page | Decided:
    sent = _Sent(asked, form_of_pause(asked.pause), form)
    said = read_answer(asked.pause, sent.fields, action, form)
    if said.faults and asked.refusal is None:
        return sent.page(HTTPStatus.UNPROCESSABLE_ENTITY, said=said, faults=said.faults)
    # Also when it cannot count any more: what was decided before may be this very answer, sent twice.
    link, comment = asked.link, _said(form, "comment").strip()
    command = AnswerPause(
        tenant=link.tenant,
        execution_id=link.execution_id,
        pause_id=link.pause_id,
        answer=as_object(said.value) or {},
        actor=asked.viewer.actor,
        action=action.name,
        comment=comment or None,
        digest=_said(form, "digest"),
        groups=link.groups,
        anonymous=link.subject is None,
    )
    try:
        await ask(services, command)
    except PassedOn as passed_on:
        refusal = passed_on.rejected
        if refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return sent.page(HTTPStatus.SERVICE_UNAVAILABLE, _NOT_NOW)
        return _refused(sent, said, refusal, await _load(services, token))
    except Unavailable:
        return sent.page(HTTPStatus.SERVICE_UNAVAILABLE, _NOT_NOW)
    return Decided()


def _refused(sent: _Sent, said: Submitted, refusal: Rejected, now: _Asked) -> Page:
    """What somebody is told whose answer does not count. `now` is the pause after that."""
    problem = msgspec.json.decode(refusal.problem, type=_Problem)
    if refusal.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        faults = problem.errors or (Fault("#", problem.detail or problem.title),)
        return sent.page(refusal.status, said=said, faults=faults)
    if now.refusal is None and vote_of(now.pause, now.viewer.actor) is None:
        return _Sent(now, form_of_pause(now.pause), sent.form).page(refusal.status, _CHANGED)
    text = _WHY.get(problem.kind.rpartition(":")[2], f"{problem.title}.")
    return _page(now, Notice(title="Your decision was not recorded", text=text), refusal.status)


def _end_of(refusal: Gone) -> PauseStatus:
    return "expired" if isinstance(refusal, PauseExpiredAlready) else "closed"


def _said(form: Typed, name: str) -> str:
    """The text of one of our own controls."""
    return [*form.get(name, ()), ""][0].replace("\r\n", "\n").replace("\0", "")
