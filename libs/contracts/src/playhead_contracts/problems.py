"""Problem documents (RFC 9457), the one form in which an error leaves a service."""

from http import HTTPStatus
from typing import Any

import msgspec

from playhead_contracts.errors import Corrupt, Fault, PlayheadError, Refused, Unavailable

PROBLEM_MEDIA_TYPE = "application/problem+json"
PROBLEM_BASE = "urn:playhead:problem:"


class Problem(msgspec.Struct, frozen=True, omit_defaults=True, rename={"kind": "type"}):
    """What a client is told when something did not work. Clients switch on `type`, never on `title` or `detail`."""

    kind: str
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None
    errors: tuple[Fault, ...] = ()
    execution_id: str | None = None
    facts: dict[str, Any] = {}

    def encode(self) -> bytes:
        """The document as JSON, with `facts` as extension members (RFC 9457 section 3.2)."""
        members: dict[str, Any] = msgspec.to_builtins(self)
        facts = members.pop("facts", {})
        return msgspec.json.encode({**facts, **members})


def http_problem(status: int, detail: str | None = None, errors: tuple[Fault, ...] = ()) -> Problem:
    """A problem that the HTTP status says all about."""
    phrase = HTTPStatus(status).phrase
    slug = phrase.lower().replace(" ", "-").replace("'", "")
    return Problem(kind=f"{PROBLEM_BASE}{slug}", title=phrase, status=status, detail=detail, errors=errors)


def problem_of(error: PlayheadError) -> Problem:
    """The problem document for an error, by its kind."""
    match error:
        case Refused():
            return Problem(
                kind=PROBLEM_BASE + error.problem,
                title=error.title,
                status=error.status,
                detail=error.detail,
                errors=error.errors,
                facts=error.facts,
            )
        case Unavailable():
            return Problem(
                kind=PROBLEM_BASE + "unavailable",
                title="Something that is needed does not answer",
                status=503,
                detail=str(error),
            )
        case Corrupt():
            return Problem(
                kind=PROBLEM_BASE + "corrupt",
                title="Stored facts are damaged; an operator must look",
                status=500,
                detail="The operator's log says what was found.",
            )
        case _:
            return http_problem(500, "An unexpected error. Nothing that was acknowledged is lost.")
