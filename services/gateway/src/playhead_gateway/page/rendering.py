"""Pages as HTML, and the headers that go with them. Everything that is printed is escaped; nothing is loaded."""

import base64
from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from playhead_gateway.page.controls import Control
from playhead_gateway.page.shown import Shown

_STYLE = files("playhead_gateway.page").joinpath("templates/page.css").read_text()
_STYLE_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()

HEADERS: Mapping[str, str] = {
    "cache-control": "no-store",
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; frame-ancestors 'none'; "
        "base-uri 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex",
}
"""Of every page: not kept, not framed, not told to other sites, no script, and no style but ours."""

_ENVIRONMENT = Environment(
    loader=PackageLoader("playhead_gateway.page"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Moment(msgspec.Struct, frozen=True):
    """A moment in words, and as machines read it."""

    words: str
    iso: str


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What is said before everything else. `faults` have where they stand, if that can be said."""

    title: str
    text: str = ""
    faults: tuple[tuple[str, str | None], ...] = ()
    is_error: bool = True


class Button(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be decided. `form` is what is asked for it alone."""

    name: str
    label: str
    denies: bool = False
    form: Control | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the question is about."""

    message: str
    details: tuple[tuple[str, Shown], ...] = ()


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody has decided, or voted."""

    who: str
    what: str
    at: Moment | None = None
    comment: str = ""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """The page on which people answer. Without `buttons` they may only read."""

    asked: Asked
    subject: str | None
    until: Moment | None
    until_words: str = ""
    people: str = ""
    notice: Notice | None = None
    digest: str = ""
    form: Control | None = None
    buttons: tuple[Button, ...] = ()
    has_required: bool = False
    comment: str = ""
    quorum: str = ""
    votes: tuple[Said, ...] = ()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a question."""

    title: str
    text: str = ""
    asked: Asked | None = None
    said: Said | None = None
    answer: tuple[tuple[str, Shown], ...] = ()
    notice: Notice | None = None
    quorum: str = ""
    votes: tuple[Said, ...] = ()
    is_good: bool = False


def render(page: Question | Outcome) -> bytes:
    """The page as UTF-8 HTML."""
    name = "question.html" if isinstance(page, Question) else "outcome.html"
    return _ENVIRONMENT.get_template(name).render(page=page, style=Markup(_STYLE)).encode()
