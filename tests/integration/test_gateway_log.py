"""The log over HTTP: pages and lines, byte for byte as it is stored, from any position."""

import asyncio
import gzip
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import msgspec
import pytest

from playhead_contracts.ids import TenantId
from playhead_eventlog import EventLog, open_log
from playhead_gateway.access import create_key
from playhead_gateway.handlers import log_pages
from playhead_runtime.bus import Bus
from tests.conftest import Database
from tests.door import TENANT, TWO_BLOCKS, Pen, assert_problem, gateway, publish, start_async
from tests.traffic import TENANTS, Traffic

LOG = "/v1/log"
LINES = {"accept": "application/x-ndjson"}
_PLAIN = {"accept-encoding": "identity"}


@pytest.fixture
async def log(database: Database) -> AsyncGenerator[EventLog]:
    async with open_log(database.service_url) as log:
        yield log


@pytest.fixture
async def client(database: Database, nats_url: str, bus: Bus, log: EventLog) -> AsyncGenerator[httpx.AsyncClient]:
    """A gateway on a log with several tenants in it."""
    await Traffic(log, seed=1).run(40)
    async with gateway(database.service_url, nats_url) as client:
        yield client


async def expected(log: EventLog, *kinds: str, after: int = 0, tenant: str = TENANT) -> list[str]:
    """The events of a tenant as they are stored, with their positions at the end."""
    raws = [raw for raw in await log.read_log(after, 100_000) if not kinds or raw.type.startswith(kinds)]
    return [
        f'{raw.frame().decode()[:-1]},"position":{raw.position}}}'
        for raw in raws
        if msgspec.json.decode(raw.meta)["tenant"] == tenant
    ]


async def pages(client: httpx.AsyncClient, path: str) -> list[str]:
    """Every event, by the links from page to page; as they stand in the pages."""
    found: list[str] = []
    while path:
        response = await client.get(path, headers=_PLAIN)
        assert response.status_code == 200, response.text
        page: dict[str, Any] = msgspec.json.decode(response.content, type=dict[str, msgspec.Raw])
        found += [bytes(item).decode() for item in msgspec.json.decode(page["items"], type=list[msgspec.Raw])]
        following = response.links.get("next", {}).get("url", "")
        assert ("next_cursor" in page and bytes(page["next_cursor"]) != b"null") == bool(following)
        path = following
    return found


async def test_pages_and_lines_give_the_log_of_the_tenant_as_it_is_stored(
    client: httpx.AsyncClient, log: EventLog
) -> None:
    everything = await expected(log)
    assert len(everything) > 100
    assert await pages(client, f"{LOG}?limit=7") == everything
    assert await pages(client, LOG) == everything
    response = await client.get(LOG, headers=LINES)
    assert response.headers["content-type"].startswith("application/x-ndjson")
    assert response.text.splitlines() == everything
    assert response.headers["playhead-until"] == str(await log.last_position())
    middle = msgspec.json.decode(everything[50])["position"]
    rest = await expected(log, after=middle)
    assert await pages(client, f"{LOG}?after={middle}&limit=10") == rest
    assert (await client.get(f"{LOG}?after={middle}", headers=LINES)).text.splitlines() == rest
    assert (await client.get(f"{LOG}?after={middle}&limit=3", headers=LINES)).text.splitlines() == rest[:3]


async def test_types_are_chosen_by_name_or_by_how_they_begin(
    client: httpx.AsyncClient, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("playhead_eventlog.log.FIND_STRETCH", 7)
    monkeypatch.setattr(log_pages, "_STRETCHES", 2)
    wanted = await expected(log, "pause.", "execution.created")
    query = "type=pause.&type=execution.created"
    assert await pages(client, f"{LOG}?{query}&limit=5") == wanted
    assert (await client.get(f"{LOG}?{query}", headers=LINES)).text.splitlines() == wanted
    assert await pages(client, f"{LOG}?type=nothing.like.it") == []


async def test_at_the_end_a_reader_is_told_where_to_go_on(client: httpx.AsyncClient, log: EventLog, bus: Bus) -> None:
    last = await log.last_position()
    page = (await client.get(LOG, params={"after": last})).json()
    assert page == {"items": [], "until": last, "next_cursor": None}
    assert (await client.get(LOG, params={"after": last}, headers=LINES)).text == ""
    await publish(client, TWO_BLOCKS)
    await Pen(log, bus).run_two(await start_async(client, "two", {"input": {"amount": 1}}))
    page = (await client.get(LOG, params={"after": page["until"]})).json()
    assert [item["type"] for item in page["items"]][:2] == ["workflow.published", "execution.created"]
    # A place ahead of the log, of somebody whose log is another one, stays where it is.
    assert (await client.get(LOG, params={"after": last + 1000})).json()["until"] == last + 1000


@pytest.mark.parametrize("headers", [{}, LINES], ids=["page", "lines"])
async def test_it_is_packed_if_the_reader_takes_that(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    plain = await client.get(LOG, headers={**headers, **_PLAIN})
    assert "content-encoding" not in plain.headers
    for refused in ("gzip;q=0", "br"):
        assert (
            "content-encoding" not in (await client.get(LOG, headers={**headers, "accept-encoding": refused})).headers
        )
    async with client.stream("GET", LOG, headers={**headers, "accept-encoding": "br;q=1.0, gzip;q=0.8"}) as response:
        packed = b"".join([chunk async for chunk in response.aiter_raw()])
    assert response.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed) == plain.content
    assert len(packed) < len(plain.content) / 3
    assert "accept-encoding" in response.headers["vary"]


async def test_whoever_stops_reading_stops_the_reading(client: httpx.AsyncClient, log: EventLog) -> None:
    async with client.stream("GET", LOG, headers=LINES) as response:
        assert await anext(response.aiter_lines())
    assert (await asyncio.wait_for(client.get("/health/live"), 5)).status_code == 200


async def test_another_tenant_and_another_scope_see_nothing(
    database: Database, nats_url: str, client: httpx.AsyncClient, log: EventLog
) -> None:
    other = TenantId(TENANTS[1])
    made = await create_key(database.owner_url, other, "board", ["executions:read"])
    none = await create_key(database.owner_url, other, "bob", ["workflows:read"])
    async with gateway(database.service_url, nats_url, open_tenant=None) as door:
        assert_problem(await door.get(LOG), 401)
        assert_problem(await door.get(LOG, headers={"x-api-key": none.key}), 403)
        lines = await door.get(LOG, headers={"x-api-key": made.key, **LINES})
    assert lines.text.splitlines() == await expected(log, tenant=other)
    assert f'"tenant":"{TENANT}"' not in lines.text


@pytest.mark.parametrize(
    "query",
    ["after=-1", "after=x", "after=99999999999999999999", "cursor=x", "limit=0", "after=1&cursor=1", "type=a%00"],
)
async def test_what_is_no_place_or_no_limit_is_refused(client: httpx.AsyncClient, query: str) -> None:
    assert_problem(await client.get(f"{LOG}?{query}"), 400)
