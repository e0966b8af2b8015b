"""`/v1/webhooks`: who is told about pauses, and the log of deliveries."""

from typing import Annotated

from litestar import Router, delete, get, post
from litestar.params import FromPath, FromQuery, QueryParameter

from playhead_gateway.access import ADMIN
from playhead_gateway.bodies import read_body
from playhead_gateway.handlers import webhooks
from playhead_gateway.paging import Page
from playhead_gateway.routes.openapi import problems, says, takes
from playhead_gateway.routes.replies import AnyResponse, respond, show
from playhead_gateway.services import AnyRequest, caller_of, needs, services_of
from playhead_gateway.webhook_store import DeliveryFilter, DeliveryRow, DeliveryStatus, WebhookRow

Limit = Annotated[int, QueryParameter(ge=1, le=200)]

_GUARDS = [needs(ADMIN)]


@post(
    "/",
    guards=_GUARDS,
    operation_class=takes(webhooks.NewWebhook),
    responses={
        201: says(webhooks.WithSecret, "Made; the secret is shown this once"),
        **problems(400, 409, 413, 415, 422),
    },
)
async def create_webhook(request: AnyRequest) -> AnyResponse:
    """Have a URL told about pauses, of what is recorded from now on."""
    order = read_body(await request.body(), webhooks.NewWebhook, request.headers.get("content-type"))
    return respond(await webhooks.create(services_of(request), caller_of(request), order))


@get("/", guards=_GUARDS, responses={200: says(Page[WebhookRow], "By name"), **problems()})
async def list_webhooks(request: AnyRequest) -> AnyResponse:
    """Who is told."""
    return show(await webhooks.list_all(services_of(request), caller_of(request)))


@get("/{name:str}", guards=_GUARDS, responses={200: says(WebhookRow, "The webhook"), **problems(404)})
async def show_webhook(request: AnyRequest, name: FromPath[str]) -> AnyResponse:
    """One webhook, without its secret."""
    return show(await webhooks.show(services_of(request), caller_of(request), name))


@delete(
    "/{name:str}",
    status_code=200,
    guards=_GUARDS,
    responses={200: says(webhooks.Deleted, "Deleted"), **problems(404)},
)
async def delete_webhook(request: AnyRequest, name: FromPath[str]) -> AnyResponse:
    """Tell it no more. What is still to be delivered fails; the log of deliveries stays."""
    return show(await webhooks.delete(services_of(request), caller_of(request), name))


@post(
    "/{name:str}/rotate",
    status_code=200,
    guards=_GUARDS,
    responses={200: says(webhooks.WithSecret, "The new secret, shown this once"), **problems(404)},
)
async def rotate_secret(request: AnyRequest, name: FromPath[str]) -> AnyResponse:
    """Give it a new secret. For 24 hours the one before signs, too."""
    return respond(await webhooks.rotate(services_of(request), caller_of(request), name))


@post(
    "/{name:str}/enable",
    status_code=200,
    guards=_GUARDS,
    responses={200: says(WebhookRow, "The webhook"), **problems(404)},
)
async def enable_webhook(request: AnyRequest, name: FromPath[str]) -> AnyResponse:
    """Tell one again that had answered 410, and was disabled for it."""
    return show(await webhooks.enable(services_of(request), caller_of(request), name))


@post(
    "/{name:str}/test",
    status_code=202,
    guards=_GUARDS,
    responses={202: says(DeliveryRow, "It is on its way"), **problems(404, 409)},
)
async def test_webhook(request: AnyRequest, name: FromPath[str]) -> AnyResponse:
    """Send it an event `webhook.test`."""
    return respond(await webhooks.test(services_of(request), caller_of(request), name))


@get("/deliveries", guards=_GUARDS, responses={200: says(Page[DeliveryRow], "Newest first"), **problems(400)})
async def list_deliveries(
    request: AnyRequest,
    webhook: FromQuery[str | None] = None,
    pause: FromQuery[str | None] = None,
    status: FromQuery[DeliveryStatus | None] = None,
    cursor: FromQuery[str | None] = None,
    limit: Limit = 50,
) -> AnyResponse:
    """What was to be told to whom, with every attempt, newest first."""
    wanted = DeliveryFilter(webhook=webhook, pause=pause, status=status)
    return show(await webhooks.list_deliveries(services_of(request), caller_of(request), wanted, cursor, limit))


@post(
    "/deliveries/{delivery_id:str}/resend",
    status_code=202,
    guards=_GUARDS,
    responses={202: says(DeliveryRow, "It is on its way"), **problems(404, 409)},
)
async def resend_delivery(request: AnyRequest, delivery_id: FromPath[str]) -> AnyResponse:
    """Send a delivery once more, under the same `webhook-id`."""
    return respond(await webhooks.resend(services_of(request), caller_of(request), delivery_id))


ROUTER = Router(
    "/v1/webhooks",
    route_handlers=[
        create_webhook,
        list_webhooks,
        list_deliveries,
        resend_delivery,
        show_webhook,
        delete_webhook,
        rotate_secret,
        enable_webhook,
        test_webhook,
    ],
    tags=["webhooks"],
)
