"""`/v1/workflows`: publish, check, show."""

from typing import Annotated

from litestar import Router, get, post
from litestar.params import FromPath, FromQuery, QueryParameter

from playhead_gateway.handlers import listing, publishing
from playhead_gateway.paging import Page
from playhead_gateway.read_models import WorkflowRow
from playhead_gateway.routes.openapi import problems, says, takes_document
from playhead_gateway.routes.replies import AnyResponse, respond, show
from playhead_gateway.services import AnyRequest, caller_of, needs, services_of

Limit = Annotated[int, QueryParameter(ge=1, le=200)]


@post(
    "/",
    guards=[needs("workflows:write")],
    operation_class=takes_document(),
    responses={
        200: says(publishing.Published, "It is the newest version already"),
        201: says(publishing.Published, "A new version"),
        **problems(413, 415, 422),
    },
)
async def publish_workflow(request: AnyRequest) -> AnyResponse:
    """Publish a document, as JSON or YAML by its content type."""
    body, kind = await request.body(), request.headers.get("content-type")
    return respond(await publishing.publish(services_of(request), caller_of(request), body, kind))


@post(
    "/validate",
    status_code=200,
    guards=[needs("workflows:read", "workflows:write")],
    operation_class=takes_document(),
    responses={200: says(publishing.Verdict, "What was found"), **problems(413, 415)},
)
async def validate_workflow(request: AnyRequest) -> AnyResponse:
    """Every fault of a document. Records nothing."""
    body = await request.body()
    return show(publishing.validate(services_of(request), body, request.headers.get("content-type")))


@get(
    "/",
    guards=[needs("workflows:read")],
    responses={200: says(Page[WorkflowRow], "By id"), **problems(400)},
)
async def list_workflows(request: AnyRequest, cursor: FromQuery[str | None] = None, limit: Limit = 50) -> AnyResponse:
    """What is published: each workflow with its newest version."""
    return show(await listing.list_workflows(services_of(request), caller_of(request), cursor, limit))


@get(
    "/{workflow_id:str}",
    guards=[needs("workflows:read")],
    responses={200: says(publishing.WorkflowView, "The workflow"), **problems(404)},
)
async def show_workflow(request: AnyRequest, workflow_id: FromPath[str]) -> AnyResponse:
    """A workflow, with its newest document and the list of its versions."""
    return show(await publishing.show_workflow(services_of(request), caller_of(request), workflow_id))


@get(
    "/{workflow_id:str}/versions/{version:str}",
    guards=[needs("workflows:read")],
    responses={200: says(publishing.VersionView, "The version"), **problems(404)},
)
async def show_version(request: AnyRequest, workflow_id: FromPath[str], version: FromPath[str]) -> AnyResponse:
    """One version. It never changes."""
    return show(await publishing.show_version(services_of(request), caller_of(request), workflow_id, version))


ROUTER = Router(
    "/v1/workflows",
    route_handlers=[publish_workflow, validate_workflow, list_workflows, show_workflow, show_version],
    tags=["workflows"],
)
