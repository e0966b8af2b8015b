"""Triggers: which events start which workflow, and with what input.

A trigger sees `event` as `wait` blocks do (see `watching`): `type`, `source`, `id`, `subject`, `time`, `position` and
`data`; the data of an event of ours is what is recorded of it, with `execution_id`, `workflow_id` and `version`.

An expression that has no value for an event is never taken for "no": it is told, so that somebody looks at it.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from hashlib import sha256

import msgspec

from playhead_contracts.errors import Fault, InvalidDocument, PlayheadError
from playhead_contracts.events import Event, EventData, EventPublished, EventReceived, Json
from playhead_contracts.ids import EVENT_TYPE_PATTERN, EventId
from playhead_contracts.pointers import pointer
from playhead_contracts.triggers import TriggerDocument
from playhead_engine.documents.check import RESERVED_ID
from playhead_engine.documents.structure import built_as
from playhead_engine.expressions import (
    Expression,
    ExpressionFailed,
    ExpressionInvalid,
    Reference,
    Scope,
    Template,
    compile_expression,
    compile_template,
)
from playhead_engine.watching import as_matched, as_seen

MAX_DEPTH = 8
"""How many triggers may follow from one another: an execution started by a trigger causes an event that starts another.
One more is a loop, as good as surely."""
MAX_TYPE_LENGTH = 200

_RECEIVED, _PUBLISHED = EventReceived.type_name(), EventPublished.type_name()
_TOKEN = re.compile(r"[A-Za-z0-9_-]+|\*|>")
_TYPE = re.compile(EVENT_TYPE_PATTERN)
_LONGEST_KEY = 128
_PREFIX = "playhead.evt."


class InvalidTrigger(InvalidDocument):
    problem, title = "invalid-trigger", "The trigger document is not valid"


class TriggerFailed(PlayheadError):
    """An expression of a trigger has no usable value for an event. The text names the expression."""


class Firing(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger starts a workflow for an event. `key` tells it from its other firings."""

    key: str
    workflow: str
    version: int | None
    input: Json
    variables: dict[str, Json]


class Trigger:
    """A compiled trigger. Made by `compile_trigger`."""

    def __init__(self, document: TriggerDocument):
        self.document = document
        self.id = document.id
        self._subject = tuple(document.on.subject.split("."))
        self._match = None if document.on.match is None else compile_expression(document.on.match)
        self._key = None if document.deduplicate_by is None else compile_expression(document.deduplicate_by)
        self._input = compile_template(document.input)
        self._variables = compile_template(document.variables)

    def may_want(self, log_type: str) -> bool:
        """Whether any event of a type, as in the log, can have the subject. Most need not even be decoded."""
        return self.document.enabled and _may_have(self._subject, log_type)

    def fire(self, event: Event) -> Firing | None:
        """What an event, hydrated, starts; None if it is not one of those that are meant. Raises TriggerFailed."""
        if not self.document.enabled or not fits(self._subject, tuple(subject_tail(event).split("."))):
            return None
        scope = _scope_of(as_seen(event, as_matched(event)))
        try:
            if self._match is not None and not self._is_meant(self._match, scope):
                return None
            return Firing(
                key=_key(self._key, scope, event.envelope.id),
                workflow=self.document.workflow,
                version=self.document.version,
                input=self._input.evaluate(scope),
                variables=self._variables.evaluate(scope),
            )
        except ExpressionFailed as failed:
            raise TriggerFailed(str(failed)) from failed

    def _is_meant(self, match: Expression, scope: Scope) -> bool:
        answer = match.evaluate(scope)
        if not isinstance(answer, bool):
            raise TriggerFailed(f"{match.source}: gives neither true nor false")
        return answer


def parse_trigger(raw: Mapping[str, Json]) -> TriggerDocument:
    """The document. Raises InvalidTrigger with all of its faults."""
    document, faults = built_as(TriggerDocument, dict(raw), ())
    faults = (*faults, *_faults(raw))
    if faults or document is None:
        count = len(faults)
        raise InvalidTrigger(f"{count} fault{'s' if count > 1 else ''}; the first: {faults[0].detail}", errors=faults)
    return document


def compile_trigger(document: Mapping[str, Json]) -> Trigger:
    """A trigger from a document that was published: what was accepted once stays accepted."""
    return Trigger(TriggerDocument.model_validate(document))


def subject_tail(event: Event) -> str:
    """Where an event stands on the bus, behind `playhead.evt.<tenant>.`."""
    envelope, data = event.envelope, event.data
    kind, _, name = envelope.stream_id.rpartition(":")
    # `operations:<tenant>`: the tenant is in the subject already.
    workflow = envelope.workflow_id or (kind if kind == "operations" else name)
    match data:
        case EventReceived() if _is_type(data.event_type):
            return f"{RESERVED_ID}.{data.event_type}"
        case EventPublished() if _is_type(data.event_type):
            return f"{workflow}.published.{data.event_type}"
        case _:
            return f"{workflow}.{envelope.type}"


def fits(pattern: tuple[str, ...], subject: tuple[str, ...]) -> bool:
    """Whether a subject is one that a pattern with the wildcards of NATS names."""
    for number, token in enumerate(pattern):
        if token == ">":
            return number < len(subject)
        if number >= len(subject) or token not in ("*", subject[number]):
            return False
    return len(pattern) == len(subject)


def key_of_run(trigger_id: str, key: str) -> str:
    """The idempotency key of the command that a firing sends."""
    return f"trigger:{trigger_id}:{key}"


def depth_after(data: EventData, above: int) -> int:
    """The depth of what an event starts: `above` is that of the execution in which it happened, 0 if in none."""
    return 1 if isinstance(data, EventReceived) else above + 1


def _is_type(text: str) -> bool:
    return len(text) <= MAX_TYPE_LENGTH and _TYPE.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def _may_have(pattern: tuple[str, ...], log_type: str) -> bool:
    own = ("*", *log_type.split("."))
    # No workflow is named `received`.
    if pattern[0] != RESERVED_ID and _fit_each_other(pattern, own):
        return True
    if log_type == _RECEIVED:
        return _fit_each_other(pattern, (RESERVED_ID, ">"))
    return log_type == _PUBLISHED and pattern[0] != RESERVED_ID and _fit_each_other(pattern, ("*", "published", ">"))


def _fit_each_other(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether there is a subject that both patterns name."""
    for first, second in zip(one, other, strict=False):
        if ">" in (first, second):
            return True
        if first != second and "*" not in (first, second):
            return False
    return len(one) == len(other)


def _scope_of(event: Mapping[str, Json]) -> Scope:
    return Scope(input=None, variables={}, execution={}, blocks={}, absent=frozenset(), event=event)


def _key(expression: Expression | None, scope: Scope, event_id: EventId) -> str:
    if expression is None:
        return event_id
    value = expression.evaluate(scope)
    if not isinstance(value, str | int | float | bool) or value == "":
        raise TriggerFailed(f"{expression.source}: a key is text, a number, true or false")
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if len(text) <= _LONGEST_KEY and text.isascii() and text.isprintable() and not text.startswith("sha256:"):
        return text
    return "sha256:" + sha256(text.encode()).hexdigest()


def _faults(raw: Mapping[str, Json]) -> Iterator[Fault]:
    on = raw.get("on")
    if isinstance(on, dict):
        subject, match = on.get("subject"), on.get("match")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if isinstance(subject, str):
            yield from _subject_faults(subject)
            yield from _loop_faults(subject, raw.get("workflow"))
        if isinstance(match, str):
            yield from _expression_faults(match, ("on", "match"))
    key = raw.get("deduplicate_by")
    if isinstance(key, str):
        yield from _expression_faults(key, ("deduplicate_by",))
    for name in ("input", "variables"):
        yield from _template_faults(raw.get(name), (name,))


def _subject_faults(subject: str) -> Iterator[Fault]:
    tokens = subject.split(".")
    where = pointer("on", "subject")
    if subject.startswith(_PREFIX):
        hint = f"leave out {_PREFIX}<tenant>., such as received.payment.*"
        yield Fault(where, "is relative to the tenant's events", hint)
    elif not all(_TOKEN.fullmatch(token) for token in tokens):
        yield Fault(where, "should be words with dots between, of letters, digits, - and _; or * for any one word")
    elif ">" in tokens[:-1]:
        yield Fault(where, "> is for all that follows, and stands at the end only", "write * for one word")


def _loop_faults(subject: str, workflow: Json) -> Iterator[Fault]:
    """Every event of an execution would start another: eight deep that is more than any machine can do."""
    pattern = tuple(subject.split("."))
    if all(fits(pattern, (str(workflow), "execution", kind)) for kind in ("created", "started")):
        detail = f"names every event of {workflow} itself, so that each would start it again"
        yield Fault(pointer("on", "subject"), detail, "name the type, such as *.execution.failed")


def _expression_faults(source: str, place: tuple[str | int, ...]) -> Iterator[Fault]:
    try:
        yield from _reference_faults(compile_expression(source).references, place)
    except ExpressionInvalid as invalid:
        yield Fault(pointer(*place), invalid.detail)


def _template_faults(value: Json, place: tuple[str | int, ...]) -> Iterator[Fault]:
    match value:
        case str():
            try:
                yield from _reference_faults(compile_template(value).references, place)
            except ExpressionInvalid as invalid:
                yield Fault(pointer(*place), invalid.detail)
        case dict():
            for name, field in value.items():  # pyright: ignore[reportUnknownVariableType]
                yield from _template_faults(field, (*place, str(name)))  # pyright: ignore[reportUnknownArgumentType]
        case list():
            for index, item in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
                yield from _template_faults(item, (*place, index))
        case _:
            return


def _reference_faults(references: frozenset[Reference], place: tuple[str | int, ...]) -> Iterator[Fault]:
    for root in sorted({reference.root for reference in references} - {"event"}):
        yield Fault(pointer(*place), f"there is no {root} here: a trigger reads `event` alone")


def constant_input(document: TriggerDocument) -> Json | None:
    """The input, if it is the same for every event."""
    template: Template = compile_template(document.input)
    return document.input if template.is_constant else None
