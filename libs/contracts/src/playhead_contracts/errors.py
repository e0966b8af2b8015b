"""The kinds of error, by who must act. Each room names its own situations as subclasses of one of these."""

from collections.abc import Mapping, Sequence

import msgspec


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong at one place of a document or an input."""

    pointer: str
    """JSON Pointer in URI fragment form (RFC 6901 section 6), e.g. `#/blocks/pay/url`."""
    detail: str
    hint: str | None = None


class PlayheadError(Exception):
    """The root of everything that Playhead raises on purpose."""


class Refused(PlayheadError):
    """The caller must act. Nothing was recorded.

    Subclasses set `problem`, the last segment of the problem type, which clients switch on (RFC 9457), and the
    HTTP status that goes with it.
    """

    problem: str = "refused"
    title: str = "The request was refused"
    status: int = 400

    def __init__(self, detail: str, *, errors: Sequence[Fault] = (), facts: Mapping[str, object] | None = None):
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.facts: dict[str, object] = dict(facts or {})


class VersionConflict(PlayheadError):
    """Another fact came first: read it, decide again. Never shown outside."""

    def __init__(self, stream_id: str, expected: int, actual: int):
        super().__init__(f"stream {stream_id} is at version {actual}, not {expected}")
        self.stream_id = stream_id
        self.expected = expected
        self.actual = actual


class Unavailable(PlayheadError):
    """Nobody must act; it works again later. Becomes 503 with Retry-After, or a nack with delay."""

    retry_after_seconds: float = 1.0


class Corrupt(PlayheadError):
    """An operator must act: what is stored is not what was written."""


class NotFound(Refused):
    problem, title, status = "not-found", "There is no such thing here", 404


class InvalidDocument(Refused):
    """A workflow document is at fault; `errors` names every fault at its place."""

    problem, title, status = "invalid-document", "The workflow document is not valid", 422


class InvalidInput(Refused):
    """An input or an answer does not fit the schema it was asked with."""

    problem, title, status = "invalid-input", "The input does not fit", 422


class Conflict(Refused):
    problem, title, status = "conflict", "This contradicts what has already happened", 409


class Gone(Refused):
    problem, title, status = "gone", "This can no longer be done", 410


class Forbidden(Refused):
    problem, title, status = "forbidden", "You may not do this", 403
