"""What callers send: the bodies of requests, decoded strictly. What is not known is refused, never ignored."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeVar

import msgspec

from playhead_contracts.durations import parse_duration
from playhead_contracts.errors import Fault
from playhead_contracts.events import Json, Mode
from playhead_contracts.pointers import pointer
from playhead_contracts.requests import Body as Body
from playhead_contracts.requests import RerunBody, ResumeBody, RunBody
from playhead_engine.variables import from_text
from playhead_gateway.problems import BadRequest, InvalidRequest, UnsupportedMediaType

T = TypeVar("T", bound=Body)

_UNKNOWN = re.compile(r"Object contains unknown field")
_PATH_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_BYTE = re.compile(r"\(byte (\d+)\)")
_KEY = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_LONGEST_KEY = 255

VARIABLE_HEADER = "x-playhead-var-"
"""Begins the names of headers that set variables, in lower case."""

_HINTS = {"#/timeout": "a duration has a unit: write 30s, 15m, 1h30m or PT15M"}


class StartExecution(RunBody, frozen=True, kw_only=True):
    follow: bool = False
    """A stream goes on after a pause, to the end."""
    cancel_on_disconnect: bool = False
    """Should the client of a sync or stream call go away before there is a result, the execution is cancelled."""


class Rerun(RerunBody, frozen=True, kw_only=True):
    """What to run again, and how to answer."""

    follow: bool = False
    cancel_on_disconnect: bool = False


class ResumePause(ResumeBody, frozen=True, kw_only=True):
    """An answer. `mode` is how to tell what comes of it; as the execution was started, if not said."""

    mode: Mode | None = None


class ExtendPause(Body, frozen=True, kw_only=True):
    """More time: until a moment, or a duration such as `2d` from now on."""

    expires_at: datetime | None = None
    expires_in: str | None = None
    reason: str | None = None


class DelegatePause(Body, frozen=True, kw_only=True):
    to: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    reason: str | None = None


class IssueLink(Body, frozen=True, kw_only=True):
    """For whom a link is (`for`: whoever holds it, if not said), in which groups they are, and how long it works."""

    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = msgspec.field(default=None, name="for")
    groups: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=200)], ...], msgspec.Meta(max_length=20)] = ()
    expires_in: str | None = None


class Approvals(Body, frozen=True, kw_only=True):
    items: list[msgspec.Raw]
    """Each an `Approval`. They are read one by one, so that a bad one harms no other."""


class Approval(Body, frozen=True, kw_only=True):
    """`input` is the whole answer; without it that is `approved` and `reason`. `action` names another decision."""

    pause_id: str | None = None
    tool_call_id: str | None = None
    approved: bool | None = None
    action: str | None = None
    reason: str | None = None
    comment: str | None = None
    input: dict[str, Json] | None = None
    digest: str | None = None

    def answer(self) -> dict[str, Json]:
        if self.input is not None:
            return self.input
        said: dict[str, Json] = {} if self.approved is None else {"approved": self.approved}
        return said if self.reason is None else said | {"reason": self.reason}


def read_body(body: bytes, kind: type[T], content_type: str | None = "application/json") -> T:
    """The body as `kind`; none at all reads as `{}`.

    Raises BadRequest for what is not JSON (with its place), InvalidRequest for JSON that `kind` does not take,
    UnsupportedMediaType for another content type.
    """
    if not body:
        body = b"{}"
    elif media_type(content_type) not in ("application/json", ""):
        raise UnsupportedMediaType(f"send application/json, not {media_type(content_type)[:100]}")
    try:
        found = msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as exc:
        raise InvalidRequest("the body is not what this call takes", errors=_faults(exc, body, kind)) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadRequest(f"the body is not valid JSON: {_placed(str(exc), body)}") from exc
    except RecursionError as exc:
        raise BadRequest("the body is nested too deeply") from exc
    return found


def read_timeout(text: str | None) -> timedelta | None:
    """How long an execution may take. Raises InvalidRequest."""
    if text is None:
        return None
    try:
        timeout = parse_duration(text)
    except ValueError as exc:
        raise InvalidRequest("the timeout is no duration", errors=[Fault(pointer("timeout"), str(exc))]) from exc
    if timeout <= timedelta(0):
        raise InvalidRequest(
            "the timeout is over before it begins", errors=[Fault(pointer("timeout"), "should be > 0s")]
        )
    return timeout


def read_variable_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The texts in `X-Playhead-Var-NAME` headers, by name in lower case and with `_` for `-`: headers know no case.

    Raises InvalidRequest for a variable that is said twice.
    """
    found: dict[str, str] = {}
    faults: list[Fault] = []
    for header, text in headers:
        if not header.lower().startswith(VARIABLE_HEADER):
            continue
        name = _plain_name(header[len(VARIABLE_HEADER) :])
        if not name or name in found:
            detail = f"the header {header} " + ("is there twice" if name else "names no variable")
            faults.append(Fault(pointer("variables", name), detail))
        found[name] = _utf8(text)
    if faults:
        raise InvalidRequest("the headers do not say one value for each variable", errors=faults)
    return found


def typed_variables(
    texts: Mapping[str, str], declared: Mapping[str, Json], given: Mapping[str, Json]
) -> dict[str, Json]:
    """The variables of a run: those `given` in the body, and of the headers' `texts` those that are not.

    A text becomes what the declared default is: a number, true or false, a list or an object. One that the workflow
    does not declare stays text, under the name as it is here. Raises InvalidRequest, which names every header at fault.
    """
    names: defaultdict[str, list[str]] = defaultdict(list)
    for name in declared:
        names[_plain_name(name)].append(name)
    found: dict[str, Json] = {}
    faults: list[Fault] = []
    for plain, text in texts.items():
        header = f"the header {VARIABLE_HEADER}{plain.replace('_', '-')}"
        name, *others = names.get(plain, [plain])
        if others:
            detail = f"{header} can be any of {', '.join((name, *others))}: say it in the body"
            faults.append(Fault(pointer("variables", plain), detail))
        elif name not in given:
            try:
                found[name] = from_text(declared.get(name), text)
            except ValueError as exc:
                faults.append(Fault(pointer("variables", name), f"{header} {exc}"))
    if faults:
        raise InvalidRequest("the headers do not fit the variables of the workflow", errors=faults)
    return found | dict(given)


def _plain_name(name: str) -> str:
    return name.lower().replace("-", "_")


def _utf8(header: str) -> str:
    """A header's value as it was meant: servers decode bytes as Latin-1, and clients send UTF-8."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def media_type(content_type: str | None) -> str:
    """The media type without its parameters, in lower case."""
    return (content_type or "").partition(";")[0].strip().lower()


def read_idempotency_key(header: str | None) -> str | None:
    """The key of an Idempotency-Key header: a quoted string of RFC 8941, or bare. Raises BadRequest."""
    if header is None:
        return None
    text = header.strip()
    quoted = _KEY.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted.group(1)) if quoted else text
    if not 0 < len(key) <= _LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise BadRequest(f"Idempotency-Key is 1 to {_LONGEST_KEY} printable ASCII characters")
    return key


def _faults(error: msgspec.ValidationError, body: bytes, kind: type[Body]) -> list[Fault]:
    text, _, place = str(error).partition(" - at `")
    if _UNKNOWN.match(text):
        known = [field.encode_name for field in msgspec.structs.fields(kind)]
        sent: dict[str, Any] = msgspec.json.decode(body)
        hint = f"members: {', '.join(known)}"
        return [Fault(pointer(name), "unknown member", hint) for name in sent if name not in known]
    where = _pointer(place.removesuffix("`"))
    return [Fault(where, text, _HINTS.get(where))]


def _pointer(place: str) -> str:
    """Msgspec's `$.outputs[1]` as a JSON Pointer. A map's value, `[...]`, is not told apart by its key."""
    return pointer(*(name or int(index) for name, index in _PATH_STEP.findall(place)))


def _placed(text: str, body: bytes) -> str:
    found = _BYTE.search(text)
    if found is None:
        return f"{text} (after byte {len(body)})"
    at = int(found.group(1))
    line = body.count(b"\n", 0, at) + 1
    column = at - (body.rfind(b"\n", 0, at) + 1) + 1
    return f"{_BYTE.sub('', text).strip()} at line {line}, column {column}"
