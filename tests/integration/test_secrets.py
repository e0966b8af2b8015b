"""Secrets: used by `http` blocks, found nowhere, whatever a server makes of them."""

import base64
import logging
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from playhead_contracts import subjects
from playhead_contracts.ids import ExecutionId
from playhead_executor.secrets import Secrets
from tests.conftest import Database
from tests.derived import caught_up, copies
from tests.door import YAML, gateway
from tests.outside import OutsideServer
from tests.system import TENANT, System, executor, projector

TOKEN = 'tök"en/+=  9f3c1d77'
PASSWORD = "pa55-word-from-a-file"

DOCUMENT = """
id: secretive
blocks:
  login:
    type: http
    method: POST
    url: "{{ input.url }}/login?key={{ secrets.TOKEN }}"
    headers: {X-Token: "Bearer {{ secrets.PASSWORD }}"}
    body: {token: "{{ secrets.TOKEN }}", password: "{{ secrets.PASSWORD }}"}
    retry: {attempts: 2, backoff: 0s}
    continue_on_error: true
    next: call
  call:
    type: http
    url: "{{ input.url }}/echo"
    auth: {type: basic, user: ann, password: "{{ secrets.PASSWORD }}"}
    query: {token: "{{ secrets.TOKEN }}"}
    continue_on_error: true
    next: broken
  broken: {type: http, url: "{{ secrets.TOKEN }}://nowhere", continue_on_error: true, next: missing}
  missing: {type: http, url: "{{ input.url }}/echo", headers: {x: "{{ secrets.NOBODY_HAS_THIS }}"}}
"""


def echoes() -> str:
    """What a careless server sends back: each secret in every form in which it came."""
    basic = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
    return f"{TOKEN} {PASSWORD} {quote(TOKEN, safe='')} {basic} {base64.b64encode(TOKEN.encode()).decode()}"


async def everything(database: Database) -> str:
    """All that PostgreSQL holds of the log and the read models, as text."""
    found: list[str] = []
    async with await psycopg.AsyncConnection.connect(database.owner_url) as connection:
        tables = await (
            await connection.execute(
                "select schemaname, tablename from pg_tables where schemaname in ('log', 'read', 'access')"
            )
        ).fetchall()
        assert ("log", "events") in tables
        assert ("read", "block_states") in tables
        for schema, table in tables:
            query = SQL("select t::text from {} t").format(Identifier(schema, table))
            found += [row[0] for row in await (await connection.execute(query)).fetchall()]
    return "\n".join(found)


async def test_a_secret_is_in_no_event_log_line_error_read_model_message_or_answer(
    database: Database,
    nats_url: str,
    client: System,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("PLAYHEAD_SECRET_TOKEN", TOKEN)
    (tmp_path / "PASSWORD").write_text(PASSWORD + "\n")
    said: list[str] = []
    async with (
        OutsideServer() as server,
        executor(database.service_url, nats_url, secrets_dir=tmp_path),
        projector(database.service_url, nats_url),
        gateway(database.service_url, nats_url) as http,
    ):
        server.respond("/login", 503, echoes(), headers={"X-Echo": quote(TOKEN)}, reason=f"No {TOKEN} {PASSWORD}")
        server.respond("/echo", 200, {"you sent": {echoes(): [echoes()]}}, headers={"X-Echo": PASSWORD})
        assert (await http.post("/v1/workflows", content=DOCUMENT, headers=YAML)).status_code == 201
        bus = await client.bus.subscribe(">")  # commands, timers, events, live, requests, answers
        path = "/v1/workflows/secretive/executions"
        done = await http.post(path, json={"input": {"url": server.url}}, timeout=60)
        execution_id = ExecutionId(done.json()["execution_id"])
        assert [request.path for request in server.requests] == ["/login", "/login", "/echo"]
        assert PASSWORD.encode() in server.requests[0].body
        assert done.json()["error"]["type"] == "secret_missing"
        await caught_up(client.log, database)
        pages = [f"/v1/executions/{execution_id}{part}" for part in ("", "/events", "/blocks", "/state", "/stream")]
        said += [(await http.get(page)).text for page in pages]
        said.append(done.text)
        said.append(await everything(database))
        for copy in await copies(client.bus):
            said += [copy.body.decode(), *copy.headers.values()]
        await client.bus.publish("end", b"")
        seen: set[str] = set()
        async for message in bus:
            if message.subject == "end":
                break
            seen.add(message.subject)
            said += [message.subject, message.data.decode(errors="replace"), *message.headers.values()]
        assert seen >= {subjects.execution_command(TENANT, "run"), subjects.live(TENANT, execution_id)}
    said.append(caplog.text)
    told = "\n".join(said)
    assert "secrets.TOKEN" in told
    assert "secrets.PASSWORD" in told
    for core in ("9f3c1d77", "pa55-word"):  # letters and digits, which are spelled alike nearly everywhere
        assert core not in told.lower()
    for secret in (TOKEN, PASSWORD):
        packed = base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]
        for form in (secret, quote(secret, safe=""), quote(secret), packed, secret.encode("unicode_escape").decode()):
            assert form not in told, f"{form!r} was found"


def test_a_file_gives_its_newest_value_and_no_name_leads_out_of_the_directory(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (tmp_path / "outside").write_text("not for you")
    (folder / "NAME").write_text("first\n")
    secrets = Secrets({"PLAYHEAD_SECRET_BOTH": "from the environment"}, folder)
    (folder / "BOTH").write_text("from the file")
    assert secrets.value("NAME") == "first"
    (folder / "NAME").write_text("second")
    assert secrets.value("NAME") == "second"
    assert secrets.value("BOTH") == "from the environment"
    assert secrets.value("../outside") is None
    assert secrets.value("..") is None


def test_a_file_that_cannot_be_read_is_no_secret_and_the_operator_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "BINARY").write_bytes(b"pa55\xff")
    (tmp_path / "LOOP").symlink_to("LOOP")
    secrets = Secrets({}, tmp_path)
    assert [secrets.value(name) for name in ("BINARY", "LOOP", "DIRECTORY\0", "a" * 1000)] == [None] * 4
    assert "secret cannot be read" in caplog.text
    assert "pa55" not in caplog.text


def test_a_mounted_secret_that_is_swapped_counts_from_then_on(tmp_path: Path) -> None:
    # As Kubernetes does it: links through a directory that is replaced.
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "KEY").write_text(f"value-{version}\r\n")
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "KEY").symlink_to("data/KEY")
    secrets = Secrets({}, tmp_path)
    assert secrets.value("KEY") == "value-one"
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(tmp_path / "data")
    assert secrets.value("KEY") == "value-two"
