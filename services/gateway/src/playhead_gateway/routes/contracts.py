"""`/contracts/` and `/asyncapi.json`: what is said on the bus and over HTTP, for programs. It holds no data: public."""

from functools import cache
from importlib.metadata import version

import msgspec
from litestar import Response, Router, get
from litestar.params import FromPath

from playhead_contracts.asyncapi import asyncapi
from playhead_contracts.errors import NotFound
from playhead_contracts.schemas import SCHEMA_MEDIA_TYPE, Contract, contracts, schemas
from playhead_gateway.routes.openapi import problem_documents, says
from playhead_gateway.routes.replies import AnyResponse, show

HTTP_CONTRACT = "/schema/openapi.json"


class ContractUnknown(NotFound):
    problem, title = "contract-unknown", "There is no such contract"


class Listed(Contract, frozen=True, kw_only=True, omit_defaults=False):
    """A contract, its `$id`, and where it is."""

    id: str
    url: str


class Contracts(msgspec.Struct, frozen=True):
    contracts: list[Listed]
    asyncapi: str = "/asyncapi.json"
    openapi: str = HTTP_CONTRACT


@get("/contracts", responses={200: says(Contracts, "Every JSON Schema, with its type and version")})
async def list_contracts() -> AnyResponse:
    """Everything that there is a JSON Schema of: events in every version ever written, commands, answers, documents."""
    listed = [
        Listed(**msgspec.structs.asdict(each), id=schemas()[each.name]["$id"], url=f"/contracts/{each.name}")
        for each in contracts()
    ]
    return show(Contracts(listed))


@get(
    "/contracts/{name:path}",
    responses={
        200: says(dict[str, object], "A JSON Schema, 2020-12", media_type=SCHEMA_MEDIA_TYPE),
        **problem_documents(400, 404),
    },
)
async def show_contract(name: FromPath[str]) -> AnyResponse:
    """One JSON Schema, e.g. `events/block.completed.v1.json`."""
    body = _encoded().get(name.strip("/"))
    if body is None:
        raise ContractUnknown(f"there is no contract {name.strip('/')[:100]}; /contracts/ lists those that there are")
    return Response(body, media_type=SCHEMA_MEDIA_TYPE)


@get("/asyncapi.json", responses={200: says(dict[str, object], "An AsyncAPI 3 document")})
async def show_asyncapi() -> AnyResponse:
    """Every channel of the bus: commands in, events out, tasks, live."""
    return Response(_asyncapi(), media_type="application/json")


@cache
def _encoded() -> dict[str, bytes]:
    return {name: msgspec.json.encode(schema) for name, schema in schemas().items()}


@cache
def _asyncapi() -> bytes:
    return msgspec.json.encode(asyncapi(version("playhead-gateway")))


ROUTER = Router("/", route_handlers=[list_contracts, show_contract, show_asyncapi], tags=["contracts"], security=[{}])
