"""Exports of a real log, read back by those who do not know us: process miners, the CloudEvents SDK, Parquet."""

import asyncio
import gzip
import os
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from datetime import timedelta
from importlib import import_module
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from cloudevents.core.formats.json import JSONFormat
from psycopg import sql

from playhead_cli.exports.reading import Part
from playhead_cli.exports.writing import FORMATS, Format, write
from playhead_contracts.events import ForkSource, LogExported
from playhead_contracts.ids import ExecutionId, WorkflowId, execution_stream, operations_stream, workflow_stream
from playhead_eventlog import GENESIS, EventLog, RawEvent, Selection, open_log
from playhead_eventlog.lines import BrokenLine, EventLine, read_line
from playhead_eventlog.stored import chain
from playhead_projector.building import tell_nobody
from playhead_runtime.bus import connect_bus
from playhead_runtime.embedded_nats import NatsServer
from playhead_runtime.provision import provision
from tests.conftest import Cluster, Database
from tests.outside import OutsideServer
from tests.system import TENANT, System, executor, hitl, only_pause
from tests.traffic import Traffic

REFUNDS = (Path(__file__).parents[2] / "examples" / "refund-review.yaml").read_text()
REFUND = WorkflowId("refund-review")
LOW, HIGH = 12.0, 900.0

LOOP = """
id: loop
input: {type: object}
blocks:
  each: {type: loop, for: 2, blocks: {ask: {type: human, message: "?", display_name: "Ask <&> '\\"'"}}}
"""


class Demo(msgspec.Struct, frozen=True):
    """A log in which the refunds of the demo were reviewed, and the executions in it by what became of them."""

    url: str
    executions: dict[str, ExecutionId]


@pytest.fixture(scope="module")
def demo(postgres: Cluster, template: str) -> Generator[Demo]:
    """Made once for all tests that only read it."""
    name = f"test_{secrets.token_hex(8)}"
    with psycopg.connect(postgres.url("postgres", owner=True), autocommit=True) as owner:
        owner.execute(sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template)))
        yield Demo(postgres.url(name), asyncio.run(review_refunds(postgres.url(name))))
        owner.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


async def review_refunds(url: str) -> dict[str, ExecutionId]:
    with tempfile.TemporaryDirectory(prefix="playhead-") as folder:
        server = NatsServer(Path(folder) / "nats")
        server.start()
        try:
            async with (
                connect_bus(server.url, "test") as bus,
                open_log(url) as log,
                OutsideServer() as outside,
            ):
                await provision(bus)
                outside.respond("/payments", body={"payment_id": "p-1"})
                async with executor(url, server.url), hitl(url, server.url):
                    return await review(System(log, bus, server.url), outside.url)
        finally:
            server.stop()


async def review(system: System, url: str) -> dict[str, ExecutionId]:
    await system.publish(REFUNDS)
    await system.publish(LOOP)
    refund = {"request_id": "r", "currency": "EUR", "reason": "broken"}
    wanted = {
        "small": (LOW, url),
        "approved": (HIGH, url),
        "refused": (HIGH, url),
        "unpaid": (LOW, f"{url}/nowhere"),
    }
    started = {
        name: await system.start(REFUNDS, refund | {"amount": amount, "payment_url": to})
        for name, (amount, to) in wanted.items()
    }
    started["loop"] = await system.start(LOOP, {})
    for name, approved in (("approved", True), ("refused", False)):
        pause = only_pause(await system.paused(started[name]))
        await system.answer(started[name], pause.pause_id, {"approved": approved})
    for name in wanted:
        await system.ended(started[name])
    await system.paused(started["loop"])
    return started


@pytest.fixture
async def log(demo: Demo) -> AsyncGenerator[EventLog]:
    async with open_log(demo.url) as log:
        yield log


@pytest.fixture(scope="module")
def pm4py() -> Any:
    """Takes seconds to load."""
    return import_module("pm4py")


Exported = Callable[..., Awaitable[bytes]]


@pytest.fixture
async def exported(log: EventLog) -> Exported:
    async def exported(format_: Format, **selected: Any) -> bytes:
        file = BytesIO()
        await write(Part(log, Selection(**selected), await log.last_position(), tell_nobody), format_, file)
        return file.getvalue()

    return exported


def activities(trace: Any) -> list[str]:
    """What ran in a trace, in order."""
    return [event["concept:name"] for event in trace if event["lifecycle:transition"] in ("complete", "ate_abort")]


SCORE, GATE, APPROVE, DECIDED, PAY = (
    "Score the risk",
    "Needs a person?",
    "Approve the refund",
    "Approved?",
    "Pay",
)
WAYS = {
    "small": [SCORE, GATE, PAY, "paid"],
    "approved": [SCORE, GATE, APPROVE, DECIDED, PAY, "paid"],
    "refused": [SCORE, GATE, APPROVE, DECIDED, "refused"],
    "unpaid": [SCORE, GATE, PAY, "failed_payment"],
}
"""What the document says, for the refunds of the demo."""


async def test_the_process_that_is_discovered_from_the_xes_is_that_of_the_document(
    demo: Demo, exported: Exported, pm4py: Any, tmp_path: Path
) -> None:
    path = tmp_path / "log.xes"
    path.write_bytes(await exported("xes", workflow_id=REFUND))
    traces = {
        trace.attributes["concept:name"]: trace for trace in pm4py.read_xes(str(path), return_legacy_log_object=True)
    }
    assert {name: activities(traces[demo.executions[name]]) for name in WAYS} == WAYS
    assert len(traces) == len(WAYS)
    refused = traces[demo.executions["refused"]]
    assert refused.attributes["playhead:status"] == "completed"
    assert refused.attributes["playhead:workflow_version"] == 1
    asked = [
        (event["lifecycle:transition"], event.get("org:resource"))
        for event in refused
        if event["concept:name"] == APPROVE
    ]
    assert asked == [("suspend", None), ("resume", "ann"), ("complete", "ann")]

    frame = pm4py.read_xes(str(path))
    frame = frame[frame["lifecycle:transition"].isin(["complete", "ate_abort"])]
    follows, begins, ends = pm4py.discover_dfg(frame)
    document = {pair for way in WAYS.values() for pair in pairwise(way)}
    assert set(follows) == document
    assert follows[(SCORE, GATE)] == 4
    assert (set(begins), set(ends)) == ({SCORE}, {"paid", "refused", "failed_payment"})
    tree = pm4py.discover_process_tree_inductive(frame)
    net = pm4py.convert_to_petri_net(tree)
    fitness = pm4py.fitness_token_based_replay(frame, *net)
    assert fitness["log_fitness"] == pytest.approx(1.0)
    assert fitness["percentage_of_fitting_traces"] == 100


async def test_xes_survives_what_people_call_their_blocks(
    demo: Demo, exported: Exported, pm4py: Any, tmp_path: Path
) -> None:
    path = tmp_path / "log.xes"
    path.write_bytes(await exported("xes", streams=(execution_stream(demo.executions["loop"]),)))
    [trace] = pm4py.read_xes(str(path), return_legacy_log_object=True)
    assert trace.attributes["playhead:status"] == "paused"
    assert {event["concept:name"] for event in trace} == {"each", "Ask <&> '\"'"}
    assert {event["playhead:path"] for event in trace} == {"each", "each[0]/ask"}


async def test_the_ocel_is_read_and_says_what_happened_to_which_thing(
    demo: Demo, log: EventLog, exported: Exported, pm4py: Any, tmp_path: Path
) -> None:
    path = tmp_path / "log.json"
    path.write_bytes(await exported("ocel"))
    ocel = pm4py.read_ocel2_json(str(path))
    events = await log.read_log(0, 1000)
    assert Counter(ocel.events["ocel:activity"]) == Counter(event.type for event in events)
    kinds: Counter[str] = Counter(ocel.objects["ocel:type"])
    assert (kinds["execution"], kinds["workflow"], kinds["person"]) == (5, 2, 1)
    assert kinds["pause"] == sum(event.type == "pause.requested" for event in events)

    raw = msgspec.json.decode(path.read_bytes())
    known = {thing["id"]: thing for thing in raw["objects"]}
    assert len(known) == len(raw["objects"])
    related = [each for event in raw["events"] for each in event["relationships"]]
    related += [each for thing in raw["objects"] for each in thing["relationships"]]
    assert {each["objectId"] for each in related} <= known.keys()
    approved = known[f"execution:{demo.executions['approved']}"]
    assert [each["qualifier"] for each in approved["relationships"]] == ["of"]
    told = [each["value"] for each in approved["attributes"] if each["name"] == "status"]
    assert told[0] == "created"
    assert told[-1] == "completed"
    assert "paused" in told
    assert known[f"block:{demo.executions['loop']}/each[0]/ask"]["type"] == "block"
    answered = [event for event in raw["events"] if event["type"] == "pause.resolved"]
    assert all("person:acme:ann" in [each["objectId"] for each in event["relationships"]] for event in answered)
    types = {kind["name"] for kind in raw["eventTypes"]}
    assert {event["type"] for event in raw["events"]} <= types


async def test_cloudevents_are_read_by_the_official_sdk_and_say_what_the_log_says(
    log: EventLog, exported: Exported
) -> None:
    lines = (await exported("cloudevents")).splitlines()
    events = await log.read_log(0, 1000)
    assert len(lines) == len(events)
    for line, event in zip(lines, events, strict=True):
        read = JSONFormat().read(None, line)
        envelope = event.decode().envelope
        assert read.get_id() == envelope.id
        assert read.get_type() == f"dev.playhead.{event.type}"
        assert read.get_source() == f"/playhead/acme/{event.stream_id}"
        assert read.get_time() == envelope.recorded_at
        assert read.get_extension("sequence") == f"{event.version:010}"
        assert read.get_extension("playheadposition") == str(event.position)
        assert read.get_data() == msgspec.json.decode(event.data)


async def test_the_rows_of_the_parquet_file_are_the_log(log: EventLog, exported: Exported) -> None:
    parquet: Any = import_module("pyarrow.parquet")
    table = parquet.read_table(BytesIO(await exported("parquet")))
    rows = table.to_pylist()
    events = await log.read_log(0, 1000)
    assert [(row["position"], row["stream_id"], row["version"], row["hash"]) for row in rows] == [
        (event.position, event.stream_id, event.version, event.hash) for event in events
    ]
    for row, event in zip(rows, events, strict=True):
        envelope = event.decode().envelope
        assert (row["event_id"], row["recorded_at"]) == (envelope.id, envelope.recorded_at)
        assert (row["type"], row["tenant"], row["workflow_id"]) == (event.type, "acme", envelope.workflow_id)
        assert (row["actor_kind"], row["actor_name"]) == (envelope.actor.kind, envelope.actor.name)
        assert row["data"].encode() == event.data


def raws_of(exported: bytes) -> list[RawEvent]:
    """The events of an export, put together again."""
    heads: dict[str, bytes] = {}
    found: list[RawEvent] = []
    for line in exported.splitlines(keepends=True):
        read = read_line(line)
        assert isinstance(read, EventLine)
        found.append(read.raw(heads.get(read.stream_id, GENESIS.hash)))
        assert found[-1].hash == chain(found[-1].prev_hash, read.meta, read.data)
        heads[read.stream_id] = read.hash
    return found


async def test_the_stored_events_come_back_from_their_lines_byte_for_byte(log: EventLog, exported: Exported) -> None:
    assert raws_of(await exported("jsonl")) == await log.read_log(0, 1000)
    with pytest.raises(BrokenLine):
        read_line(b'{"type":"x","data":{}}\n')
    with pytest.raises(BrokenLine):
        read_line(b'{"data":{},"position":1,"hash":"' + b"0" * 64 + b'"}\n')


async def test_a_selection_is_what_it_says_and_no_more(demo: Demo, log: EventLog, exported: Exported) -> None:
    events = await log.read_log(0, 1000)

    async def selected(**selection: Any) -> list[RawEvent]:
        found: list[RawEvent] = []
        for line in (await exported("jsonl", **selection)).splitlines(keepends=True):
            read = read_line(line)
            assert isinstance(read, EventLine)
            found += [event for event in events if event.position == read.position]
        return found

    names = (execution_stream(demo.executions["small"]), execution_stream(demo.executions["loop"]))
    assert await selected(streams=names) == [event for event in events if event.stream_id in names]
    of_refunds = [event for event in events if event.decode().envelope.workflow_id == REFUND]
    assert await selected(workflow_id=REFUND) == of_refunds
    assert workflow_stream(TENANT, REFUND) in {event.stream_id for event in of_refunds}
    assert await selected(workflow_id=WorkflowId("refund")) == []
    assert await selected(tenant="globex") == []
    middle = events[len(events) // 2].decode().recorded_at
    before, after = await selected(until=middle), await selected(since=middle)
    assert sorted([*before, *after], key=lambda event: event.position) == events
    assert max(event.decode().recorded_at for event in before) < middle
    assert await selected(since=middle, until=middle + timedelta(0)) == []
    assert await selected(streams=names, since=middle) == [event for event in after if event.stream_id in names]


async def test_every_format_takes_every_kind_of_event(database: Database) -> None:
    async with open_log(database.service_url) as log:
        await Traffic(log, seed=3).run(executions=20)
        count = await log.last_position()
        for format_ in FORMATS:
            file = BytesIO()
            part = Part(log, Selection(), count, tell_nobody)
            written = await write(part, msgspec.convert(format_, Format), file)
            assert written == count or format_ == "xes"
        forks = [raw for raw in await log.read_log(0, count) if b'"source":{' in raw.data]
        assert forks
        assert msgspec.json.decode(forks[0].data)["source"].keys() >= set(ForkSource.__struct_fields__)


async def test_the_command_writes_a_whole_file_or_none_and_tells_who_exported_what(
    database: Database, tmp_path: Path
) -> None:
    async with open_log(database.service_url) as log:
        await Traffic(log, seed=1).run(executions=10)
        count = await log.last_position()
        packed = tmp_path / "log.jsonl.gz"
        code, said = await export(database, "--output", str(packed), "--json")
        assert (code, msgspec.json.decode(said)) == (0, {"file": str(packed), "events": count})
        assert raws_of(gzip.decompress(packed.read_bytes())) == await log.read_log(0, count)
        for tenant in await log.tenants(Selection(), count):
            [told] = await log.read(operations_stream(tenant))
            assert isinstance(told.data, LogExported)
            assert (told.data.format, told.data.to) == ("jsonl", "log.jsonl.gz")
            assert (told.envelope.actor.kind, told.envelope.actor.channel) == ("person", "operator")
        code, said = await export(database, "--format", "csv")
        assert (code, b"parquet" in said) == (2, True)
        async with await psycopg.AsyncConnection.connect(database.owner_url) as owner:
            await owner.execute("alter table log.events disable trigger all")
            await owner.execute("update log.events set meta = 'x' where position = %s", (count,))
        code, said = await export(database, "--format", "cloudevents", "--output", str(packed), "--json")
        assert code == 1
        assert b"playhead verify" in said
        assert [file.name for file in tmp_path.iterdir()] == [packed.name]
        assert len(raws_of(gzip.decompress(packed.read_bytes()))) == count


async def export(database: Database, *words: str) -> tuple[int | None, bytes]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "playhead_cli",
        "export",
        *words,
        env=os.environ | {"PLAYHEAD_DATABASE_URL": database.service_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, said = await process.communicate()
    return process.returncode, out + said
