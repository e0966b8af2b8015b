"""A block with two durable steps: an order is reserved, and then shipped, each once, whatever is lost in between."""

from datetime import timedelta
from typing import Annotated

import httpx
import msgspec

from playhead_blocks import BlockContext, BlockFailed, Json, block


class ShipOrder(msgspec.Struct, forbid_unknown_fields=True):
    """What to ship, and whose warehouse to ask."""

    warehouse: str
    order: str
    items: Annotated[list[str], msgspec.Meta(min_length=1)]


class Shipment(msgspec.Struct):
    """What the warehouse made of it."""

    reservation: str
    tracking: str


@block(effects=True, heartbeat=timedelta(minutes=2))
async def ship_order(config: ShipOrder, context: BlockContext) -> Shipment:
    """Reserve the items, then ship them. Out of stock is final; a warehouse that is away may come back."""
    async with httpx.AsyncClient(base_url=config.warehouse, timeout=60, trust_env=False) as client:

        async def reserve() -> Json:
            body = {"order": config.order, "items": config.items}
            return await _asked(client, "/reserve", body, context.idempotency_key("reserve"))

        reserved = await context.step("reserve", reserve)
        await context.chunk({"reserved": len(config.items)})

        async def ship() -> Json:
            body = {"reservation": reserved["id"]}
            return await _asked(client, "/ship", body, context.idempotency_key("ship"))

        shipped = await context.step("ship", ship)
    context.log.info("order shipped")
    return Shipment(reservation=reserved["id"], tracking=shipped["tracking"])


async def _asked(client: httpx.AsyncClient, path: str, body: Json, key: str) -> Json:
    try:
        response = await client.post(path, json=body, headers={"Idempotency-Key": key})
    except httpx.TransportError as away:
        raise BlockFailed("warehouse_away", type(away).__name__, retryable=True) from away
    if response.status_code == 409:
        raise BlockFailed("out_of_stock", "the warehouse has not got all of it", details=response.json())
    if response.status_code >= 400:
        raise BlockFailed("warehouse_failed", f"it answered {response.status_code}", retryable=True)
    return response.json()
