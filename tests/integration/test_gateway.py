"""The gateway refuses what is wrong, says what, and records nothing of it."""

import gzip
from collections.abc import AsyncGenerator

import httpx
import psycopg
import pytest

from playhead_eventlog import EventLog, open_log
from playhead_runtime.bus import Bus
from playhead_runtime.ids import new_id
from tests.conftest import Database
from tests.door import ASKING, TWO_BLOCKS, YAML, Pen, assert_problem, gateway, publish, start_async


@pytest.fixture
async def log(database: Database) -> AsyncGenerator[EventLog]:
    async with open_log(database.service_url) as log:
        yield log


@pytest.fixture
async def client(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[httpx.AsyncClient]:
    async with gateway(database.service_url, nats_url) as client:
        yield client


BAD_DOCUMENTS = {
    "broken YAML": ("id: [", "#"),
    "a second key": ("id: a\nid: b\nblocks: {x: {type: function, code: '1'}}", "#/id"),
    "an unknown block type": ("id: a\nblocks: {x: {type: teleport}}", "#/blocks/x/type"),
    "a cycle": (
        "id: a\nblocks: {x: {type: function, code: '1', next: y}, y: {type: function, code: '1', next: x}}",
        "#/blocks/",
    ),
    "an edge to nowhere": ("id: a\nblocks: {x: {type: function, code: '1', next: z}}", "#/blocks/x/next"),
    "no blocks": ("id: a", "#"),
    "not a mapping": ("[1, 2]", "#"),
}


@pytest.mark.parametrize("fault", BAD_DOCUMENTS)
async def test_a_document_at_fault_is_refused_at_its_place(
    client: httpx.AsyncClient, log: EventLog, fault: str
) -> None:
    text, place = BAD_DOCUMENTS[fault]
    problem = assert_problem(await client.post("/v1/workflows", content=text, headers=YAML), 422, "invalid-document")
    assert any(error["pointer"].startswith(place) for error in problem["errors"])
    assert await log.last_position() == 0

    verdict = await client.post("/v1/workflows/validate", content=text, headers=YAML)
    assert verdict.status_code == 200
    assert not verdict.json()["valid"]
    assert verdict.json()["errors"] == problem["errors"]


async def test_a_document_of_another_kind_is_not_taken(client: httpx.AsyncClient, log: EventLog) -> None:
    headers = {"content-type": "application/xml"}
    assert_problem(await client.post("/v1/workflows", content="<id/>", headers=headers), 415)
    assert_problem(await client.post("/v1/workflows", content=TWO_BLOCKS), 415)
    assert await log.last_position() == 0


async def test_publishing_the_same_document_again_gives_the_same_version(client: httpx.AsyncClient) -> None:
    first = await client.post("/v1/workflows", content=TWO_BLOCKS, headers=YAML)
    again = await client.post("/v1/workflows", content=TWO_BLOCKS + "\n# a comment\n", headers=YAML)
    other = await client.post("/v1/workflows", content=TWO_BLOCKS + "name: Two\n", headers=YAML)

    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 201)
    assert again.json() == first.json()
    assert other.json()["version"] == 2
    shown = (await client.get("/v1/workflows/two")).json()
    assert [version["version"] for version in shown["versions"]] == [2, 1]
    assert shown["document"]["name"] == "Two"
    old = (await client.get("/v1/workflows/two/versions/1")).json()
    assert old["digest"] == first.json()["digest"]
    assert "name" not in old["document"]


async def test_json_and_yaml_of_one_document_are_one_version(client: httpx.AsyncClient) -> None:
    document = {"id": "both", "blocks": {"x": {"type": "function", "code": "1"}}}
    assert (await client.post("/v1/workflows", json=document)).status_code == 201
    yaml = "blocks: {x: {code: '1', type: function}}\nid: both"
    assert (await client.post("/v1/workflows", content=yaml, headers=YAML)).status_code == 200


BAD_STARTS: dict[str, tuple[bytes, int, str]] = {
    "input of a wrong type": (b'{"input": {"amount": "much"}}', 422, "input-does-not-fit"),
    "no input": (b"{}", 422, "input-does-not-fit"),
    "an unknown output": (b'{"input": {"amount": 1}, "outputs": ["third"]}', 422, "unknown-output"),
    "an unknown version": (b'{"input": {"amount": 1}, "version": 7}', 404, "workflow-unknown"),
    "a version that is none": (b'{"input": {"amount": 1}, "version": -1}', 404, "workflow-unknown"),
    "an unknown mode": (b'{"input": {"amount": 1}, "mode": "later"}', 422, "invalid-request"),
    "an unknown member": (b'{"inputs": {"amount": 1}}', 422, "invalid-request"),
    "a timeout that is no duration": (b'{"input": {"amount": 1}, "timeout": "5"}', 422, "invalid-request"),
    "broken JSON": (b'{"input": {"amount": 1,}}', 400, "bad-request"),
    "half of JSON": (b'{"input": ', 400, "bad-request"),
    "not UTF-8": (b'{"input": "\xff"}', 400, "bad-request"),
    "not a number": (b'{"input": NaN}', 400, "bad-request"),
    "very deep JSON": (b'{"input": ' + b"[" * 100_000, 400, "bad-request"),
    "not an object": (b"[]", 422, "invalid-request"),
    "20 MB": (b'{"input": "' + b"x" * 20_000_000 + b'"}', 413, "request-entity-too-large"),
}


@pytest.mark.parametrize("fault", BAD_STARTS)
async def test_a_start_at_fault_is_refused_and_nothing_is_recorded(
    client: httpx.AsyncClient, log: EventLog, fault: str
) -> None:
    body, status, kind = BAD_STARTS[fault]
    await publish(client, TWO_BLOCKS)
    before = await log.last_position()
    response = await client.post(
        "/v1/workflows/two/executions", content=body, headers={"content-type": "application/json"}
    )
    assert_problem(response, status, kind)
    assert await log.last_position() == before


async def test_a_body_that_is_too_large_is_told_how_much_is_taken(client: httpx.AsyncClient) -> None:
    problem = assert_problem(await client.post("/v1/workflows/two/executions", content=b"x" * 2_000_000), 413)
    assert (problem["limit"], problem["limit_bytes"]) == ("max_body_bytes", 1024 * 1024)
    assert "1,048,576 bytes" in problem["detail"]
    assert "PLAYHEAD_MAX_BODY_BYTES" in problem["detail"]


async def test_a_document_beyond_a_limit_is_refused_and_the_limit_is_named(
    database: Database, nats_url: str, bus: Bus, log: EventLog
) -> None:
    blocks = "".join(f"  b{number}: {{type: function, code: '1'}}\n" for number in range(3))
    loop = "each: {type: loop, for: 1, blocks: {inner: {type: loop, for: 1, blocks: {a: {type: function, code: '1'}}}}}"
    beyond = {
        "max_blocks": f"id: w\nblocks:\n{blocks}  b3: {{type: note, text: x}}\n",
        "max_depth": f"id: w\nblocks: {{{loop}}}",
    }
    async with gateway(database.service_url, nats_url, max_document_bytes=1024, max_blocks=3, max_depth=1) as client:
        for kind in ("", "/validate"):
            large = f"id: w\nblocks:\n{blocks}# {'x' * 1024}"
            problem = assert_problem(await client.post(f"/v1/workflows{kind}", content=large, headers=YAML), 413)
            assert (problem["limit"], problem["limit_bytes"]) == ("max_document_bytes", 1024)
        for name, text in beyond.items():
            problem = assert_problem(await client.post("/v1/workflows", content=text, headers=YAML), 422)
            assert name in problem["errors"][0]["detail"]
        assert await log.last_position() == 0
        assert await publish(client, f"id: w\nblocks:\n{blocks}") == 1


async def test_every_unknown_member_is_named_at_its_place(client: httpx.AsyncClient) -> None:
    problem = assert_problem(await client.post("/v1/workflows/two/executions", json={"inputs": 1, "mod": 2}), 422)
    assert [error["pointer"] for error in problem["errors"]] == ["#/inputs", "#/mod"]


async def test_broken_json_is_told_its_line_and_column(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/v1/workflows/two/executions",
        content=b'{\n  "mode": sync}',
        headers={"content-type": "application/json"},
    )
    assert "line 2, column 11" in assert_problem(response, 400)["detail"]


async def test_a_body_that_a_page_could_send_unasked_is_not_taken(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/workflows/two/executions", content=b"{}", headers={"content-type": "text/plain"})
    assert_problem(response, 415)


@pytest.mark.parametrize("execution_id", ["01a1fbc2-9e1e-758a-8509-d6dd5bd12298", "nonsense", "%00", "x" * 3000])
async def test_what_is_not_there_is_404_everywhere(client: httpx.AsyncClient, execution_id: str) -> None:
    here = f"/v1/executions/{execution_id}"
    for path in ("", "/events", "/blocks", "/state", "/state?version=1", "/stream", "/stream?after=3"):
        assert_problem(await client.get(here + path), 404)
    assert_problem(await client.post(here + "/cancel"), 404)
    assert_problem(await client.post(here + "/rerun", json={"from_block": "x"}), 404)
    assert_problem(await client.post(f"{here}/pauses/{new_id()}/resume", json={"input": {}}), 404)
    assert_problem(await client.get(f"/v1/executions/compare?a={execution_id}&b={execution_id}"), 404)
    assert_problem(await client.get(f"/v1/workflows/{execution_id}"), 404)
    assert_problem(await client.get(f"/v1/workflows/two/versions/{execution_id}"), 404)
    assert_problem(await client.post(f"/v1/workflows/{execution_id}/executions", json={}), 404)


async def test_another_executions_pause_is_unknown(client: httpx.AsyncClient, log: EventLog, bus: Bus) -> None:
    await publish(client, ASKING)
    asked, other = await start_async(client, "asking"), await start_async(client, "asking")
    pause_id = await Pen(log, bus).pause(asked)
    before = await log.last_position()
    response = await client.post(f"/v1/executions/{other}/pauses/{pause_id}/resume", json={"input": {"approved": True}})
    assert_problem(response, 404, "pause-unknown")
    assert await log.last_position() == before


async def test_routes_and_methods_that_do_not_exist_are_problems(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get("/v2/everything"), 404)
    response = await client.delete("/v1/executions")
    assert_problem(response, 405)
    assert "GET" in response.headers["allow"]
    assert_problem(await client.get("/v1/executions", params={"limit": "many"}), 400)
    assert_problem(await client.get("/v1/executions/compare"), 400)


async def test_a_bug_tells_nothing_of_its_inside(client: httpx.AsyncClient, database: Database) -> None:
    # A column that is gone stands for any bug of ours.
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        connection.execute("create table read.checkpoints (projection text, position text)")
        connection.execute("insert into read.checkpoints values ('executions', 'x')")
    problem = assert_problem(await client.get("/v1/executions"), 500)
    assert set(problem) == {"type", "title", "status", "detail"}


async def test_lists_say_when_no_projector_has_run_yet(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/executions")
    assert "projector" in assert_problem(response, 503, "unavailable")["detail"]
    assert int(response.headers["retry-after"]) >= 1


async def test_a_compressed_body_is_not_read_as_json(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/v1/workflows/two/executions",
        content=gzip.compress(b"{}"),
        headers={"content-type": "application/json", "content-encoding": "gzip"},
    )
    assert_problem(response, 400)


async def test_health_names_what_is_missing(client: httpx.AsyncClient, database: Database) -> None:
    assert (await client.get("/health/ready")).json()["status"] == "ready"
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        connection.execute("delete from public.playhead_migrations where number > 1")
    response = await client.get("/health/ready")
    assert response.status_code == 503
    assert "migrate" in response.json()["checks"]["migrations"]
    assert response.json()["checks"]["bus"] == "ok"
    assert (await client.get("/health/live")).status_code == 200


async def test_the_openapi_document_declares_bodies_and_problems(client: httpx.AsyncClient) -> None:
    document = (await client.get("/schema/openapi.json")).json()
    assert document["info"]["title"] == "Playhead"
    start = document["paths"]["/v1/workflows/{workflow_id}/executions"]["post"]
    schema = start["requestBody"]["content"]["application/json"]["schema"]
    assert {"enum": ["async", "stream", "sync"]} in schema["properties"]["mode"]["anyOf"]
    assert schema["additionalProperties"] is False
    for status in ("400", "401", "403", "404", "413", "415", "422", "503"):
        assert list(start["responses"][status]["content"]) == ["application/problem+json"]
