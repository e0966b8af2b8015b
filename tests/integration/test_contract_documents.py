"""The contracts as they are served and exported: for anybody, complete, and valid to the official tools."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from typer.testing import CliRunner

from playhead_cli.main import app
from playhead_contracts.asyncapi import STREAMS, asyncapi
from playhead_contracts.requests import REQUESTS
from playhead_contracts.schemas import event_types, promised, schemas
from playhead_gateway.app import openapi_document
from playhead_runtime.bus import Bus
from tests.conftest import Database
from tests.door import TWO_BLOCKS, assert_problem, gateway, publish
from tests.node import installed_once, told_by
from tests.system import executor

OFFICIAL = Path(__file__).parent.parent / "official"


@pytest.fixture
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official tools."""
    return installed_once(OFFICIAL, tmp_path_factory)


async def test_every_contract_is_served_to_anybody(database: Database, nats_url: str, bus: Bus) -> None:
    async with gateway(database.service_url, nats_url, open_tenant=None) as client:
        index = (await client.get("/contracts/")).json()
        assert {each["name"] for each in index["contracts"]} == set(schemas())
        for each in index["contracts"]:
            response = await client.get(each["url"])
            assert response.status_code == 200, each
            assert response.headers["content-type"] == "application/schema+json"
            assert response.json() == schemas()[each["name"]]
            assert response.json()["$id"] == each["id"]
        [told] = [each for each in index["contracts"] if each["name"] == "events/block.completed.v1.json"]
        del told["url"], told["id"], told["name"]
        assert told == {"kind": "event", "type": "block.completed", "version": 1, "is_present": True}
        assert (await client.get("/contracts/events%2Fblock.completed.v1.json")).status_code == 200
        assert_problem(await client.get("/contracts/events/block.completed.v9.json"), 404, "contract-unknown")
        assert (await client.get(index["asyncapi"])).json() == asyncapi(
            (await client.get(index["openapi"])).json()["info"]["version"]
        )
        assert (await client.get(index["openapi"])).json() == json.loads(json.dumps(openapi_document()))


async def test_the_asyncapi_document_is_valid_to_the_official_parser_and_has_every_channel(official: Path) -> None:
    document = msgspec.json.encode(asyncapi("1.2.3"))
    said = msgspec.json.decode(await asyncio.to_thread(told_by, official / "asyncapi.mjs", document))
    # 0 is an error and 1 a warning; the parser tells of a newer AsyncAPI as information.
    assert [problem for problem in said["problems"] if problem["severity"] < 2] == []
    assert said["version"] == "3.0.0"
    addresses = set(said["addresses"])
    assert {f"playhead.evt.{{tenant}}.{{workflow}}.{kind.type_name()}" for kind in event_types()} <= addresses
    assert {f"playhead.cmd.{{tenant}}.{kind}" for kind in (*REQUESTS, "task_result")} <= addresses
    assert {
        "playhead.in.{tenant}.{event_type}",
        "playhead.evt.{tenant}.received.{event_type}",
        "playhead.evt.{tenant}.{workflow}.published.{event_type}",
        "playhead.task.{tenant}.{task}",
        "playhead.live.{tenant}.{execution}",
        "playhead.chunk.{tenant}.{execution}",
        "playhead.dlq.{tenant}.{kind}",
    } <= addresses
    assert not [address for address in addresses if address and address.split(".")[1] in ("exec", "rpc", "timer")]
    assert ["receive", "receiveRunCommand"] in said["operations"]
    assert ["send", "sendBlockCompleted"] in said["operations"]


async def test_what_commands_are_answered_is_what_the_contracts_say(
    database: Database, nats_url: str, bus: Bus
) -> None:
    url = database.service_url
    async with executor(url, nats_url), gateway(url, nats_url) as client, await bus.subscribe("told") as told:
        await publish(client, TWO_BLOCKS)

        async def asked(number: int, **body: Any) -> list[Any]:
            """The answers to a command that is as the contracts say, up to the last."""
            jsonschema_rs.validate(schemas()["commands/run.json"], body | {"workflow_id": "two", "reply_to": "told"})
            command = {"workflow_id": "two", "reply_to": "told", **body}
            await bus.send("playhead.cmd.acme.run", msgspec.json.encode(command), f"m-{number}")
            answers: list[Any] = []
            async for message in told:
                answers.append(msgspec.json.decode(message.data))
                jsonschema_rs.validate(schemas()[f"answers/{answers[-1]['type']}.json"], answers[-1])
                if answers[-1]["type"] != "receipt":
                    break
            return answers

        receipt, result = await asked(1, input={"amount": 1}, id="c-1")
        assert (receipt["status"], result["status"], result["body"]["status"]) == (202, 200, "completed")
        [refused] = await asked(2, input={})
        assert refused["status"] == 422
        jsonschema_rs.validate(schemas()["problem.json"], refused["problem"])
    letter = msgspec.json.decode(await bus.api("STREAM.MSG.GET.PLAYHEAD_DLQ", b'{"seq":1}'))["message"]
    lines = base64.b64decode(letter["hdrs"]).decode().split("\r\n")[1:]
    headers = dict(line.split(": ", 1) for line in lines if line)
    jsonschema_rs.validate(asyncapi("1")["components"]["schemas"]["DeadLetterHeaders"], headers)
    assert headers["playhead-subject"] == "playhead.cmd.acme.run"


async def test_the_openapi_document_is_valid_to_the_official_schema(official: Path) -> None:
    document = msgspec.json.encode(openapi_document())
    said = msgspec.json.decode(await asyncio.to_thread(told_by, official / "openapi.mjs", document))
    assert said == {"valid": True, "version": "3.1"}


async def test_what_the_document_says_of_streams_is_so(bus: Bus) -> None:
    channels: list[Any] = list(asyncapi("1")["channels"].values())
    named = {channel["x-jetstream"]["stream"] for channel in channels if "x-jetstream" in channel}
    assert named == set(STREAMS)
    for name, said in STREAMS.items():
        config = msgspec.json.decode(await bus.api(f"STREAM.INFO.{name}", b""))["config"]
        assert {key: config[key] for key in said} == said, name
        for channel in channels:
            if channel.get("x-jetstream", {}).get("stream") == name:
                subject = channel["address"].replace("{event_type}", ">").replace("{", "").replace("}", "")
                assert any(_covers(wide, subject) for wide in config["subjects"]), channel["address"]


def _covers(wide: str, subject: str) -> bool:
    for has, wants in zip(wide.split("."), subject.split("."), strict=False):
        if has == ">":
            return True
        if has not in ("*", wants):
            return False
    return len(wide.split(".")) == len(subject.split("."))


def test_the_schemas_of_headers_are_schemas() -> None:
    for schema in asyncapi("1")["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_the_contracts_are_exported_and_a_later_version_is_checked_against_them(tmp_path: Path) -> None:
    runner = CliRunner(env={"COLUMNS": "500", "NO_COLOR": "1"})

    def run(*arguments: str) -> tuple[int, str]:
        done = runner.invoke(app, ["contracts", *arguments])
        return done.exit_code, done.output

    folder = tmp_path / "contracts"
    assert run("export", str(folder))[0] == 0
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*.json")}
    assert written == {*schemas(), "asyncapi.json", "openapi.json"}
    assert run("check", str(folder)) == (
        0,
        f"nothing is broken; 0 of {len(promised())} contracts new, or with more in them\n",
    )

    # As it was before a field and a type were added.
    (folder / "events" / "block.failed.v1.json").unlink()
    skipped = folder / "events" / "block.skipped.v1.json"
    earlier = msgspec.json.decode(skipped.read_bytes())
    del earlier["properties"]["child"]
    skipped.write_bytes(msgspec.json.encode(earlier))
    assert run("check", str(folder))[1].startswith("nothing is broken; 2 of")
    assert run("check", str(folder), "--record")[0] == 0
    assert run("check", str(folder))[1].startswith("nothing is broken; 0 of")

    # As it was before a field was taken away.
    earlier["properties"]["colour"] = {"type": "string"}
    skipped.write_bytes(msgspec.json.encode(earlier))
    status, said = run("check", str(folder), "--record")
    assert status == 1
    assert "events/block.skipped.v1.json, colour: the field is gone (removed)" in said
    assert msgspec.json.decode(skipped.read_bytes()) == earlier
    status, said = run("check", str(folder), "--json")
    assert status == 1
    assert json.loads(said)["breaks"][0]["rule"] == "removed"
