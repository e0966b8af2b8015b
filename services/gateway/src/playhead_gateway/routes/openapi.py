"""What the OpenAPI document says beyond what the signatures of routes say: bodies, streams and problems."""

from dataclasses import dataclass
from typing import Any, cast

import msgspec
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    Operation,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
)

from playhead_contracts.errors import Fault
from playhead_contracts.problems import PROBLEM_MEDIA_TYPE
from playhead_gateway.bodies import Approval, Approvals, Body


class ProblemDocument(msgspec.Struct, rename={"kind": "type"}):
    """RFC 9457. Clients switch on `type`. Some problems have further members."""

    kind: str
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None
    errors: list[Fault] = []


def says(kind: object, description: str) -> ResponseSpec:
    """A response with this body."""
    return ResponseSpec(kind, generate_examples=False, description=description)  # pyright: ignore[reportArgumentType]


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """The problem responses of a call; 401, 403 and 503 are those of every call with a key."""
    spec = ResponseSpec(
        data_container=ProblemDocument,
        generate_examples=False,
        media_type=PROBLEM_MEDIA_TYPE,
        description="A problem document",
    )
    return dict.fromkeys((*statuses, 401, 403, 503), spec)


def takes(kind: type[Body]) -> type[Operation]:
    """The body of a call, which is JSON."""
    return _with_body({"application/json": OpenAPIMediaType(schema=cast("Schema", _schema(kind)))})


def takes_document() -> type[Operation]:
    """The body of a call that is a workflow document, in JSON or YAML."""
    schema = Schema(description="A workflow document")
    kinds = ("application/json", "application/yaml", "text/yaml", "application/x-yaml")
    return _with_body({kind: OpenAPIMediaType(schema=schema) for kind in kinds})


def takes_cloud_event() -> type[Operation]:
    """The body of a call that is a CloudEvent, or the data of one whose attributes are headers."""
    schema = Schema(description="A CloudEvent 1.0; as application/json its data, with the attributes in ce- headers")
    kinds = ("application/cloudevents+json", "application/json")
    return _with_body({kind: OpenAPIMediaType(schema=schema) for kind in kinds})


def _with_body(content: dict[str, OpenAPIMediaType]) -> type[Operation]:
    @dataclass
    class WithBody(Operation):
        """An operation with a body that its route reads by itself, strictly."""

        def __post_init__(self) -> None:
            self.request_body = RequestBody(content=content)

    return WithBody


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
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
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
