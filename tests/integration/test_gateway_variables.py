"""What a run may be given besides its input: variables in the body and in headers, a time limit, how much at once."""

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from playhead_contracts.events import Json
from playhead_eventlog import EventLog, open_log
from playhead_runtime.bus import Bus
from tests.conftest import Database
from tests.door import assert_problem, gateway, publish

TYPED = """
id: typed
timeout: 1h
max_concurrency: 8
variables: {who: nobody, max_count: 1, rate: 0.5, dry: false, items: [], options: {}, any: null}
blocks: {a: {type: function, code: "1"}}
"""
DEFAULTS: dict[str, Json] = {
    "who": "nobody",
    "max_count": 1,
    "rate": 0.5,
    "dry": False,
    "items": [],
    "options": {},
    "any": None,
}
Headers = dict[str, str] | list[tuple[str, str]]


@pytest.fixture
async def log(database: Database) -> AsyncGenerator[EventLog]:
    async with open_log(database.service_url) as log:
        yield log


@pytest.fixture
async def client(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[httpx.AsyncClient]:
    async with gateway(database.service_url, nats_url) as client:
        await publish(client, TYPED)
        yield client


async def start(client: httpx.AsyncClient, headers: Any = None, **body: Json) -> httpx.Response:
    return await client.post("/v1/workflows/typed/executions", json={"mode": "async"} | body, headers=headers)


async def variables_of(client: httpx.AsyncClient, response: httpx.Response) -> dict[str, Json]:
    """Those that the execution began with, which are not the defaults."""
    assert response.status_code == 202, response.text
    state = (await client.get(response.json()["links"]["state"])).json()
    assert state["variables"] == state["initial_variables"]
    return {name: value for name, value in state["variables"].items() if DEFAULTS.get(name, ...) != value}


async def test_variables_come_in_headers_as_the_types_that_are_declared(client: httpx.AsyncClient) -> None:
    headers = {
        "X-Playhead-Var-Who": "12",
        "X-Playhead-Var-Max-Count": "12",
        "x-playhead-var-RATE": "1.5",
        "X-Playhead-Var-Dry": "true",
        "X-Playhead-Var-Items": '["a", 1]',
        "X-Playhead-Var-Options": '{"deep": {"er": null}}',
        "X-Playhead-Var-Any": "12",
        "X-Playhead-Var-Other-Thing": "12",
    }
    assert await variables_of(client, await start(client, headers)) == {
        "who": "12",
        "max_count": 12,
        "rate": 1.5,
        "dry": True,
        "items": ["a", 1],
        "options": {"deep": {"er": None}},
        "any": "12",
        "other_thing": "12",
    }


async def test_a_header_may_hold_any_text(client: httpx.AsyncClient) -> None:
    for sent in ("Zoë 日本".encode(), "Zoë".encode("latin-1")):
        found = await variables_of(client, await start(client, [(b"x-playhead-var-who", sent)]))
        assert found == {"who": sent.decode() if len(sent) > 3 else "Zoë"}


async def test_the_body_goes_before_the_headers(client: httpx.AsyncClient) -> None:
    headers = {"x-playhead-var-max-count": "what?", "x-playhead-var-who": "header", "x-playhead-var-new": "header"}
    response = await start(client, headers, variables={"max_count": 7, "new": "body"})
    assert await variables_of(client, response) == {"max_count": 7, "who": "header", "new": "body"}


@pytest.mark.parametrize(
    ("headers", "places"),
    [
        ({"x-playhead-var-max-count": "many", "x-playhead-var-dry": "maybe"}, ["max_count", "dry"]),
        ({"x-playhead-var-items": "[1,"}, ["items"]),
        ([("x-playhead-var-who", "a"), ("X-Playhead-Var-Who", "b")], ["who"]),
        ({"x-playhead-var-": "a"}, [""]),
    ],
)
async def test_a_header_that_does_not_fit_is_named_and_nothing_is_recorded(
    client: httpx.AsyncClient, log: EventLog, headers: Headers, places: list[str]
) -> None:
    before = await log.last_position()
    problem = assert_problem(await start(client, headers), 422, "invalid-request")
    assert [error["pointer"] for error in problem["errors"]] == [f"#/variables/{place}" for place in places]
    for error in problem["errors"]:
        assert "x-playhead-var-" in error["detail"].lower()
    assert await log.last_position() == before


async def test_a_header_that_could_be_two_variables_is_refused(client: httpx.AsyncClient) -> None:
    await publish(client, TYPED.replace("who: nobody", "Who: x, who: y"))
    problem = assert_problem(await start(client, {"x-playhead-var-who": "a"}), 422)
    assert "Who, who" in problem["errors"][0]["detail"]
    assert (await start(client, {"x-playhead-var-rate": "2"}, variables={"Who": "a"})).status_code == 202


@pytest.mark.parametrize(
    ("variables", "places"),
    [
        ({"who": 1}, ["who"]),
        ({"max_count": "1", "rate": True, "any": True}, ["max_count", "rate"]),
        ({"items": {}, "options": []}, ["items", "options"]),
        ({"dry": None}, ["dry"]),
    ],
)
async def test_a_variable_of_another_type_is_refused_at_its_place_and_nothing_is_recorded(
    client: httpx.AsyncClient, log: EventLog, variables: dict[str, Json], places: list[str]
) -> None:
    before = await log.last_position()
    problem = assert_problem(await start(client, variables=variables), 422, "variables-do-not-fit")
    assert [error["pointer"] for error in problem["errors"]] == [f"#/variables/{place}" for place in places]
    assert await log.last_position() == before


async def test_a_repeat_is_the_same_execution_whatever_its_headers_mean_now(client: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": "v-1", "x-playhead-var-max-count": "many", "x-playhead-var-who": "Ann"}
    headers["x-playhead-var-max-count"] = "2"
    first = await start(client, headers)
    assert first.status_code == 202
    await publish(client, TYPED.replace("max_count: 1", "max_count: []"))
    again = await start(client, headers)
    assert again.json() == first.json()
    other = await start(client, headers | {"x-playhead-var-who": "Bob"})
    assert_problem(other, 422, "idempotency-key-reused")


async def test_the_time_limit_of_a_run_can_only_shorten_that_of_the_workflow(client: httpx.AsyncClient) -> None:
    for timeout, expected in (("30s", timedelta(seconds=30)), ("2h", timedelta(hours=1)), (None, timedelta(hours=1))):
        response = await start(client, timeout=timeout)
        shown = (await client.get(response.headers["location"])).json()
        took = datetime.fromisoformat(shown["deadline"]) - datetime.fromisoformat(shown["created_at"])
        assert abs(took - expected) < timedelta(seconds=20)


async def test_the_concurrency_of_a_run_can_only_narrow_that_of_the_workflow(client: httpx.AsyncClient) -> None:
    for most, expected in ((2, 2), (100, 8), (None, 8)):
        response = await start(client, max_concurrency=most)
        assert (await client.get(response.json()["links"]["state"])).json()["max_concurrency"] == expected


@pytest.mark.parametrize(
    ("body", "place", "said"),
    [
        ({"timeout": 30}, "#/timeout", "write 30s"),
        ({"timeout": "30"}, "#/timeout", "say 30s"),
        ({"timeout": "soon"}, "#/timeout", "is not a duration"),
        ({"timeout": "0s"}, "#/timeout", "should be > 0s"),
        ({"timeout": "99999999999w"}, "#/timeout", "hundred years"),
        ({"max_concurrency": 0}, "#/max_concurrency", ">= 1"),
        ({"max_concurrency": 1.5}, "#/max_concurrency", "int"),
    ],
)
async def test_a_limit_that_is_none_is_refused_and_nothing_is_recorded(
    client: httpx.AsyncClient, log: EventLog, body: dict[str, Json], place: str, said: str
) -> None:
    before = await log.last_position()
    problem = assert_problem(await start(client, **body), 422, "invalid-request")
    [error] = problem["errors"]
    assert error["pointer"] == place
    assert said in error["detail"] + error.get("hint", "")
    assert await log.last_position() == before


async def test_a_key_with_another_limit_is_another_request(client: httpx.AsyncClient) -> None:
    key = {"idempotency-key": "l-1"}
    assert (await start(client, key, timeout="30s", max_concurrency=2)).status_code == 202
    assert (await start(client, key, timeout="PT30S", max_concurrency=2)).status_code == 202
    for other in ({"timeout": "31s", "max_concurrency": 2}, {"timeout": "30s"}, {}):
        assert_problem(await start(client, key, **other), 422, "idempotency-key-reused")
