"""`/health`: whether the process lives, and whether it can do its work. Needs no key and tells no secret."""

from litestar import Router, get

from playhead_gateway.handlers.listening import Reply
from playhead_gateway.routes.replies import AnyResponse, respond, show
from playhead_gateway.services import AnyRequest, services_of
from playhead_runtime.health import readiness


@get("/live")
async def live() -> AnyResponse:
    """200 as long as the process answers."""
    return show({"status": "live"})


@get("/ready")
async def ready(request: AnyRequest) -> AnyResponse:
    """200, or 503 with what is missing."""
    found = await readiness(services_of(request).checks)
    return respond(Reply(status=200 if found.is_ready else 503, body=found))


ROUTER = Router("/health", route_handlers=[live, ready], tags=["operations"], security=[{}])
