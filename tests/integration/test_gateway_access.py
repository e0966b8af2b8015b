"""Who may call, and what: keys with scopes, tenants that do not see each other, and the open tenant of one machine."""

from collections.abc import AsyncGenerator

import httpx
import psycopg
import pytest

from playhead_gateway.access import SCOPES, UnknownScope, create_key, list_keys, revoke_key
from playhead_gateway.settings import Settings
from playhead_runtime.bus import Bus
from playhead_runtime.ids import new_id
from playhead_runtime.settings import BadSetting, read_settings
from tests.conftest import Database
from tests.door import TWO_BLOCKS, YAML, assert_problem, gateway, publish, start_async

START = {"input": {"amount": 1}}


@pytest.fixture
async def client(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[httpx.AsyncClient]:
    async with gateway(database.service_url, nats_url, open_tenant=None) as client:
        yield client


async def key_of(database: Database, tenant: str, *scopes: str) -> dict[str, str]:
    """The headers of a new key."""
    made = await create_key(database.service_url, tenant, "ann", scopes or ("admin",))
    return {"authorization": f"Bearer {made.key}"}


async def test_without_a_key_nothing_but_health_is_served(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"authorization": "Bearer no"}, {"x-api-key": "no"}, {"authorization": "Basic eDp5"}):
        response = await client.get("/v1/executions", headers=headers)
        assert_problem(response, 401, "unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"
    assert (await client.get("/health/live")).status_code == 200
    assert (await client.get("/health/ready")).status_code == 200


async def test_both_headers_are_taken(client: httpx.AsyncClient, database: Database) -> None:
    made = await create_key(database.service_url, "acme", "ann", ["workflows:write"])
    for headers in ({"authorization": f"bearer {made.key}"}, {"x-api-key": made.key}):
        response = await client.post("/v1/workflows", content=TWO_BLOCKS, headers=YAML | headers)
        assert response.status_code in (200, 201)


async def test_a_scope_that_is_missing_is_named(client: httpx.AsyncClient, database: Database) -> None:
    calls = {
        "workflows:read": ("GET", "/v1/workflows/two"),
        "workflows:write": ("POST", "/v1/workflows"),
        "executions:read": ("GET", f"/v1/executions/{new_id()}"),
        "executions:run": ("POST", "/v1/workflows/two/executions"),
        "pauses:answer": ("POST", f"/v1/executions/{new_id()}/pauses/{new_id()}/resume"),
    }
    for scope, (method, path) in calls.items():
        others = [other for other in SCOPES if other not in (scope, "admin")]
        without = await key_of(database, "acme", *others)
        problem = assert_problem(await client.request(method, path, headers=without), 403, "scope-missing")
        assert problem["scope"] == scope
        for enough in (scope, "admin"):
            response = await client.request(method, path, headers=await key_of(database, "acme", enough))
            assert response.status_code not in (401, 403)


async def test_another_tenants_things_are_not_there(client: httpx.AsyncClient, database: Database) -> None:
    ours, theirs = await key_of(database, "acme"), await key_of(database, "rival")
    client.headers.update(ours)
    await publish(client, TWO_BLOCKS)
    execution_id = await start_async(client, "two", START)
    client.headers.update(theirs)
    here = f"/v1/executions/{execution_id}"
    for path in ("", "/events", "/blocks", "/state", "/stream"):
        assert_problem(await client.get(here + path), 404)
    assert_problem(await client.post(here + "/cancel"), 404)
    assert_problem(await client.post(here + "/rerun", json={"from_block": "first"}), 404)
    assert_problem(await client.post(f"{here}/approvals", json={"items": [1]}), 404)
    assert_problem(await client.post(f"{here}/pauses/{new_id()}/resume", json={"input": {}}), 404)
    assert_problem(await client.get("/v1/workflows/two"), 404)
    assert_problem(await client.get("/v1/workflows/two/versions/1"), 404)
    assert_problem(await client.post("/v1/workflows/two/executions", json=START), 404)


async def test_who_made_an_execution_is_recorded(client: httpx.AsyncClient, database: Database) -> None:
    client.headers.update(await key_of(database, "acme"))
    await publish(client, TWO_BLOCKS)
    execution_id = await start_async(client, "two", START)
    events = (await client.get(f"/v1/executions/{execution_id}/events")).json()["items"]
    assert events[0]["actor"] == {"kind": "key", "name": "ann", "channel": "http"}


async def test_a_revoked_key_opens_nothing(client: httpx.AsyncClient, database: Database) -> None:
    made = await create_key(database.service_url, "acme", "ann", ["admin"])
    assert await revoke_key(database.service_url, "acme", made.key_id)
    assert_problem(await client.get("/v1/workflows/two", headers={"x-api-key": made.key}), 401)


async def test_keys_are_stored_hashed_and_belong_to_a_tenant(database: Database) -> None:
    made = await create_key(database.service_url, "acme", "ann", ["admin"])
    listed = await list_keys(database.service_url, "acme")
    assert [(key.key_id, key.name, key.revoked_at) for key in listed] == [(made.key_id, "ann", None)]
    with psycopg.connect(database.owner_url) as connection:
        rows = connection.execute("select k::text from access.keys k").fetchall()
    assert made.key not in str(rows)
    assert await list_keys(database.service_url, "rival") == []
    assert not await revoke_key(database.service_url, "rival", made.key_id)
    assert not await revoke_key(database.service_url, "acme", "nonsense")
    with pytest.raises(UnknownScope, match="everything"):
        await create_key(database.service_url, "acme", "ann", ["everything"])


async def test_the_open_tenant_serves_this_machine_alone(database: Database, nats_url: str, bus: Bus) -> None:
    async with gateway(database.service_url, nats_url) as client:
        await publish(client, TWO_BLOCKS)
        here = "/v1/workflows/two"
        port = client.base_url.port
        for good in (
            {"host": f"localhost:{port}"},
            {"host": f"[::1]:{port}"},
            {"origin": f"http://127.0.0.1:{port}"},
            {"origin": "http://localhost:5173"},
        ):
            assert (await client.get(here, headers=good)).status_code == 200
        for bad in (
            {"host": f"rebound.example:{port}"},
            {"host": "127.0.0.1.example"},
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": "http://localhost.evil.example"},
            {"sec-fetch-site": "cross-site"},
        ):
            assert_problem(await client.get(here, headers=bad), 403, "not-from-here")


def test_an_open_tenant_on_an_address_for_everybody_stops_the_process() -> None:
    environ = {"PLAYHEAD_NATS_URL": "nats://x", "PLAYHEAD_DATABASE_URL": "postgresql://x"}
    assert read_settings(Settings, environ).open_tenant is None
    opened = environ | {"PLAYHEAD_OPEN_TENANT": "acme"}
    assert read_settings(Settings, opened).open_tenant == "acme"
    for host in ("0.0.0.0", "::", "10.0.0.1", "play.example"):
        with pytest.raises(BadSetting, match="PLAYHEAD_OPEN_TENANT"):
            read_settings(Settings, opened | {"PLAYHEAD_HOST": host})
    with pytest.raises(BadSetting, match="PLAYHEAD_OPEN_TENANT"):
        read_settings(Settings, environ | {"PLAYHEAD_OPEN_TENANT": "a.b"})


async def test_a_port_that_is_taken_is_named(database: Database, nats_url: str, bus: Bus) -> None:
    async with gateway(database.service_url, nats_url) as client:
        with pytest.raises(BadSetting, match="PLAYHEAD_PORT"):
            async with gateway(database.service_url, nats_url, port=client.base_url.port):
                pass
