"""What the OpenAPI document says beyond what the signatures of routes say: bodies, streams and problems."""

from dataclasses import dataclass
from typing import Any, cast

import msgspec
from litestar import Request
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPI,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
)

from playhead_contracts.errors import Fault
from playhead_contracts.problems import PROBLEM_MEDIA_TYPE
from playhead_gateway.bodies import Approval, Approvals, Body
from playhead_gateway.preferences import EVENT_STREAM


class ProblemDocument(msgspec.Struct, rename={"kind": "type"}):
    """RFC 9457. Clients switch on `type`. Some problems have further members."""

    kind: str
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None
    errors: list[Fault] = []


def says(kind: object, description: str, media_type: str = "application/json") -> ResponseSpec:
    """A response with this body."""
    return ResponseSpec(
        kind,  # pyright: ignore[reportArgumentType]
        generate_examples=False,
        media_type=media_type,
        description=description,
    )


def says_events(description: str) -> ResponseSpec:
    """A response that is a stream of server-sent events."""
    return ResponseSpec(str, generate_examples=False, media_type=EVENT_STREAM, description=description)


def says_nothing(description: str) -> ResponseSpec:
    """A response without a body."""
    return ResponseSpec(None, generate_examples=False, description=description)


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """The problem responses of a call; 401, 403 and 503 are those of every call with a key."""
    return problem_documents(*statuses, 401, 403, 503)


def problem_documents(*statuses: int) -> dict[int, ResponseSpec]:
    """The problem responses of a call that needs no key."""
    spec = ResponseSpec(
        data_container=ProblemDocument,
        generate_examples=False,
        media_type=PROBLEM_MEDIA_TYPE,
        description="A problem document",
    )
    return dict.fromkeys(statuses, spec)


def takes(kind: type[Body], *, may_stream: bool = False) -> type[Operation]:
    """The body of a call, which is JSON; `may_stream`: its 200 may be server-sent events as well."""
    return _with_body({"application/json": OpenAPIMediaType(schema=cast("Schema", _schema(kind)))}, may_stream)


def takes_document() -> type[Operation]:
    """The body of a call that is a workflow document, in JSON or YAML."""
    schema = Schema(description="A workflow document")
    kinds = ("application/json", "application/yaml", "text/yaml", "application/x-yaml")
    return _with_body({kind: OpenAPIMediaType(schema=schema) for kind in kinds})


def takes_cloud_event() -> type[Operation]:
    """The body of a call that is a CloudEvent, or the data of one whose attributes are headers."""
    schema = Schema(description="A CloudEvent 1.0; as application/json its data, with the attributes in ce- headers")
    kinds = ("application/cloudevents+json", "application/cloudevents-batch+json", "application/json")
    return _with_body({kind: OpenAPIMediaType(schema=schema) for kind in kinds})


def also_says(media_type: str) -> type[Operation]:
    """A call without a body whose 200 may also be text of this kind."""

    @dataclass
    class AlsoSays(Operation):
        """An operation that answers as it is asked to."""

        def __post_init__(self) -> None:
            if self.responses is not None:
                found = self.responses["200"]
                assert isinstance(found, OpenAPIResponse)
                assert found.content is not None
                found.content[media_type] = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))

    return AlsoSays


def _with_body(content: dict[str, OpenAPIMediaType], may_stream: bool = False) -> type[Operation]:
    @dataclass
    class WithBody(Operation):
        """An operation with a body that its route reads by itself, strictly."""

        def __post_init__(self) -> None:
            self.request_body = RequestBody(content=content)
            if may_stream and self.responses is not None:
                found = self.responses["200"]
                assert isinstance(found, OpenAPIResponse)
                assert found.content is not None
                found.content[EVENT_STREAM] = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))

    return WithBody


class _Renderer(JsonRenderPlugin):
    """Says `anyOf` where Litestar says `oneOf`: a value may be more than one of the types of a union, such as JSON."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return self.render_json(request, _with_any_of(openapi_schema))  # pyright: ignore[reportUnknownMemberType]


def _with_any_of(part: Any) -> Any:
    match part:
        case dict():
            items = cast("dict[str, Any]", part).items()
            return {"anyOf" if name == "oneOf" else name: _with_any_of(value) for name, value in items}
        case list():
            return [_with_any_of(each) for each in cast("list[Any]", part)]
        case _:
            return part


def rendered(document: OpenAPI) -> dict[str, Any]:
    """The document as it is served."""
    return _with_any_of(document.to_schema())


def openapi_config(version: str) -> OpenAPIConfig:
    """`/schema/openapi.json`, and no pages around it."""
    security: dict[str, SecurityScheme | Reference] = {
        "bearer": SecurityScheme(type="http", scheme="bearer"),
        "key": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
    }
    return OpenAPIConfig(
        title="Playhead",
        version=version,
        description="Workflows whose every step is an event.",
        use_handler_docstrings=True,
        path="/schema",
        render_plugins=[_Renderer(path="/openapi.json")],
        security=[{"bearer": []}, {"key": []}],
        components=Components(security_schemes=security),
    )


def _schema(kind: type[Body]) -> dict[str, Any]:
    """The JSON Schema of a body, in place: Litestar has no room for components that it did not make itself."""

    def of_custom(_: type[Any]) -> dict[str, Any]:
        return {"type": "object"}

    _, found = msgspec.json.schema_components((kind,), schema_hook=of_custom)
    schema = found[kind.__name__]
    if kind is Approvals:
        schema["properties"]["items"]["items"] = _schema(Approval)
    return schema
