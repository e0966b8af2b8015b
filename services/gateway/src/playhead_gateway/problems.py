"""The one table: what went wrong -> the problem document (RFC 9457) that a caller gets."""

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import Any, NamedTuple

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, NotFoundException, ValidationException

from playhead_contracts.commands import Rejected
from playhead_contracts.errors import Fault, InvalidInput, NotFound, PlayheadError, Refused, Unavailable
from playhead_contracts.problems import PROBLEM_MEDIA_TYPE, Problem, http_problem, problem_of
from playhead_runtime.tracing import current_traceparent

log = logging.getLogger(__name__)

_RETRY_SOON = {"retry-after": "1"}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class ExecutionUnknown(NotFound):
    problem, title = "execution-unknown", "There is no such execution here"

    def __init__(self, execution_id: str):
        super().__init__(f"there is no execution {execution_id[:64]}")


class VersionUnknown(NotFound):
    problem, title = "version-unknown", "The execution was never at that version"


class WorkflowUnknown(NotFound):
    problem, title = "workflow-unknown", "There is no such workflow here"


class PauseUnknown(NotFound):
    problem, title = "pause-unknown", "There is no such pause here"

    def __init__(self, pause_id: str):
        super().__init__(f"there is no pause {pause_id[:64]}")


class BadRequest(Refused):
    problem, title, status = "bad-request", "The request cannot be read", 400


class UnsupportedMediaType(Refused):
    problem, title, status = "unsupported-media-type", "This kind of content is not taken", 415


class TooLarge(Refused):
    """`limit` is the setting that says how much is taken, in lower case and without `PLAYHEAD_`."""

    problem, title, status = "request-entity-too-large", "The request is larger than what is taken here", 413

    def __init__(self, what: str, limit: str, limit_bytes: int):
        detail = f"{what} may have at most {limit_bytes:,} bytes here (PLAYHEAD_{limit.upper()})"
        super().__init__(detail, facts={"limit": limit, "limit_bytes": limit_bytes})


class InvalidRequest(InvalidInput):
    problem, title = "invalid-request", "The request is not one that this call takes"


class PassedOn(PlayheadError):
    """Another service refused, and its problem document is the answer, as it is."""

    def __init__(self, rejected: Rejected):
        super().__init__(rejected.problem)
        self.rejected = rejected


class Told(NamedTuple):
    """What a caller gets: a status, a problem document as JSON, and headers that go with it."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class Stopping(Unavailable):
    """This gateway is going away; another one, or this one after a restart, goes on."""

    def __init__(self) -> None:
        super().__init__("the gateway is stopping; connect again and go on from the last event")


def is_uuid(text: str) -> bool:
    """Whether the text can be an id of ours; what cannot is not asked for."""
    return _UUID.fullmatch(text) is not None


def tell(error: Exception, path: str = "") -> Told:
    """What a caller is told of an error that came of a request for `path`."""
    if isinstance(error, PassedOn):
        status = error.rejected.status
        return Told(status, error.rejected.problem.encode(), _RETRY_SOON if status == 503 else {})
    problem, headers = _problem_for(error, path)
    if (traceparent := current_traceparent()) is not None:
        problem = msgspec.structs.replace(problem, facts={**problem.facts, "trace_id": traceparent[3:35]})
    return Told(problem.status, problem.encode(), headers)


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Litestar's exception handler for everything."""
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        error = TooLarge("the body of a request", "max_body_bytes", request.app.state.services.settings.max_body_bytes)
    told = tell(error, request.url.path)
    if told.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request failed", exc_info=error, extra={"path": request.url.path, "method": request.method})
    return Response(told.body, status_code=told.status, media_type=PROBLEM_MEDIA_TYPE, headers=dict(told.headers))


def _problem_for(error: Exception, path: str) -> tuple[Problem, Mapping[str, str]]:
    match error:
        case Unavailable():
            return problem_of(error), {"retry-after": str(max(1, ceil(error.retry_after_seconds)))}
        case Refused() if error.status == HTTPStatus.UNAUTHORIZED:
            return problem_of(error), {"www-authenticate": "Bearer"}
        case PlayheadError():
            return problem_of(error), {}
        case ValidationException():
            return http_problem(400, "a parameter is not valid", _parameter_faults(error)), {}
        case NotFoundException():
            return http_problem(404, f"there is nothing at {path[:200]}"), {}
        case HTTPException():
            return http_problem(error.status_code, error.detail), error.headers or {}
        case _:
            return http_problem(500, "An unexpected error. Nothing that was acknowledged is lost."), {}


def _parameter_faults(error: ValidationException) -> tuple[Fault, ...]:
    listed: list[dict[str, Any]] = error.extra if isinstance(error.extra, list) else []  # pyright: ignore[reportUnknownVariableType]
    return tuple(Fault(f"#/{each.get('key', '')}", str(each.get("message", ""))) for each in listed)
