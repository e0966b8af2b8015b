"""Ended executions leave the database, and nothing is lost: read, forked again, verified and rebuilt; and kill -9."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest

from playhead_cli import offline
from playhead_cli.archives import verify_archive
from playhead_cli.archiving import AnotherArchiving, ArchiveReport, Order, Place, archive, nothing_is_archived
from playhead_cli.exports.reading import Part
from playhead_cli.exports.writing import write
from playhead_cli.verifying import verify_log, verify_stream
from playhead_contracts.events import ExecutionArchived, ExecutionCompleted, ExecutionCreated, ExecutionStarted
from playhead_contracts.ids import ExecutionId, WorkflowId, execution_stream, operations_stream
from playhead_eventlog import BLOB_BYTES, GENESIS, EventLog, RawEvent, Selection, open_log
from playhead_eventlog.archive import BrokenArchive, NotArchivedHere
from playhead_eventlog.archive_files import ArchiveFiles, BadArchiveUrl
from playhead_eventlog.checkpoints import Checkpoints, LogDigest, Written, sign_checkpoint
from playhead_eventlog.proving import prove
from playhead_eventlog.signing import SigningKey
from playhead_eventlog.stored import StreamArchived
from playhead_projector.building import tell_nobody
from playhead_projector.settings import Settings
from playhead_projector.verifying import verify_read_models
from playhead_runtime.bus import Bus
from playhead_runtime.ids import new_id
from tests.conftest import Database
from tests.derived import caught_up
from tests.door import TENANT, TWO_BLOCKS, gateway, publish
from tests.dying_archive import POINTS
from tests.system import System, eventually, executor, new_event, projector
from tests.traffic import Traffic
from tests.traffic import new_event as traffic_event

KEY = SigningKey.new()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
async def log(database: Database, folder: Path) -> AsyncGenerator[EventLog]:
    async with open_log(database.service_url, archive_url=str(folder)) as log:
        yield log


async def followed(database: Database, log: EventLog) -> None:
    """Wait until all that follows the log has noted that it is at its end."""
    last = await caught_up(log, database)
    async with await psycopg.AsyncConnection.connect(database.service_url, autocommit=True) as connection:

        async def is_there() -> bool:
            rows = await connection.execute("select min(position) from read.checkpoints")
            return (await rows.fetchall())[0][0] >= last

        await eventually(is_there)


async def archived(database: Database, folder: Path, before: datetime, **more: Any) -> ArchiveReport:
    place = Place(database.service_url, database.owner_url)
    return await archive(Order(before=before, **more), place, ArchiveFiles(str(folder)), KEY)


async def shown(http: httpx.AsyncClient, execution_id: str) -> list[Any]:
    """All that the gateway tells of an execution."""
    paths = ("", "/events", "/state", "/state?version=2", "/blocks", "/lineage")
    answers = [await http.get(f"/v1/executions/{execution_id}{path}") for path in paths]
    assert [answer.status_code for answer in answers] == [200] * len(paths)
    return [answer.json() for answer in answers[:-1]]


async def ran(http: httpx.AsyncClient, path: str = "/v1/workflows/two/executions", **body: Any) -> str:
    answer = await http.post(path, json={"mode": "sync", **body}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "completed"
    return answer.json()["execution_id"]


async def forked(http: httpx.AsyncClient, source: str) -> str:
    return await ran(http, f"/v1/executions/{source}/rerun", from_block="second")


async def signed(log: EventLog) -> Written:
    """A checkpoint of the log as it is."""
    digest = LogDigest()
    async for place in log.auditing.places():
        digest.add(place)
    return Written("checkpoints", 1, sign_checkpoint(digest, KEY, None, datetime.now(UTC)))


async def test_what_was_archived_is_read_forked_verified_and_rebuilt_as_if_it_were_there(
    database: Database, nats_url: str, bus: Bus, folder: Path, log: EventLog
) -> None:
    at: dict[str, Any] = {"archive_url": str(folder)}
    async with (
        executor(database.service_url, nats_url, **at),
        projector(database.service_url, nats_url, **at),
        gateway(database.service_url, nats_url, **at) as http,
    ):
        await publish(http, TWO_BLOCKS)
        kept, source, alone = [await ran(http, input={"amount": amount}) for amount in (1, 2, 3)]
        fork = await forked(http, source)
        before = datetime.now(UTC)
        later = await forked(http, kept)
        await followed(database, log)
        told = {each: await shown(http, each) for each in (source, alone, fork)}
        events = await log.read_log(0, 1000)
        checkpoint = await signed(log)

        dry = await archived(database, folder, before, dry_run=True)
        assert (dry.executions, dry.kept, dry.files) == (3, 1, [])
        report = await archived(database, folder, before)
        assert (report.executions, report.kept, report.not_yet) == (3, 1, 0)
        assert report.events == dry.events == sum(each[0]["last_version"] for each in told.values())
        [fact] = await log.read(operations_stream(TENANT))
        assert isinstance(fact.data, ExecutionArchived)
        assert set(fact.data.executions) == set(told)

        # Everything is read as before, and nothing can be added.
        now = {each: await shown(http, each) for each in told}
        assert [each[0].pop("archived") for each in now.values()] == [True] * 3
        assert now == told
        gone = {execution_stream(ExecutionId(each)) for each in told}
        left = [event for event in events if event.stream_id not in gone]
        assert (await log.read_log(0, 1000))[: len(left)] == left
        state = await System(log, bus, nats_url).state(ExecutionId(alone))
        _, head = await log.load(execution_stream(state.execution_id))
        with pytest.raises(StreamArchived):
            await log.append(execution_stream(state.execution_id), head, [new_event(fact.data, state)])
        middle = events[[event.stream_id for event in events].index(execution_stream(state.execution_id)) + 1]
        moment = middle.decode().recorded_at.isoformat().replace("+00:00", "Z")
        assert (await http.get(f"/v1/executions/{alone}/state", params={"at": moment})).json()["version"] >= 2

        # Lists and read models have forgotten it, and a rebuild comes to the same.
        await followed(database, log)
        listed = (await http.get("/v1/executions")).json()["items"]
        assert {each["execution_id"] for each in listed} == {kept, later}
        settings = Settings(database_url=database.service_url, nats_url="", archive_url=str(folder))
        assert (await verify_read_models(settings)).intact

        # What is made from it now reads its outputs from the file.
        again = await forked(http, source)
        compared = (await http.get("/v1/executions/compare", params={"a": source, "b": again})).json()
        assert "reused" in str(compared)
        assert (await shown(http, again))[0]["outputs"] == told[source][0]["outputs"]
        await followed(database, log)
        assert (await verify_read_models(settings)).intact

        # And once more, with a fork whose source is in the archive already.
        report = await archived(database, folder, datetime.now(UTC), compress=False)
        assert (report.executions, report.kept) == (3, 0)
        assert (await shown(http, again))[0]["outputs"] == told[source][0]["outputs"]
        await followed(database, log)
        assert (await http.get("/v1/executions")).json()["items"] == []
        assert (await verify_read_models(settings)).intact

    verdict = await verify_archive(log, ArchiveFiles(str(folder)), [KEY.public])
    assert (verdict.faults, verdict.executions, verdict.files, verdict.unreferred) == ([], 6, 2, [])
    proof = await prove(log.auditing.places(), [checkpoint], [KEY.public])
    assert (proof.faults, proof.events) == ((), len(events))
    exported = folder.parent / "log.jsonl"
    Checkpoints(folder.parent / "signed").add(checkpoint.line, datetime.now(UTC))
    with exported.open("wb") as file:
        last = await log.last_position()
        await write(Part(log, Selection(), last, tell_nobody), "jsonl", file)
    (folder.parent / "key.pub").write_bytes(KEY.public.pem())
    found = offline.verify(exported, folder.parent / "signed", [folder.parent / "key.pub"])
    assert (found.faults, found.proven_events, found.archived) == ([], len(events), verdict.events)
    with exported.open("wb") as file:
        only = Selection(streams=(execution_stream(ExecutionId(alone)),))
        assert await write(Part(log, only, last, tell_nobody), "jsonl", file) == told[alone][0]["last_version"]
    assert (await verify_log(log)).intact
    assert (await verify_stream(log, execution_stream(ExecutionId(alone)))).intact
    assert not (await verify_archive(log, ArchiveFiles(str(folder)), [SigningKey.new().public])).intact
    async with open_log(database.service_url) as elsewhere:
        with pytest.raises(NotArchivedHere, match="PLAYHEAD_ARCHIVE_URL"):
            await elsewhere.read(execution_stream(ExecutionId(alone)))
    async with open_log(database.service_url, archive_url=f"local://{folder}") as by_fsspec:
        assert await by_fsspec.read(execution_stream(ExecutionId(alone)))


@pytest.fixture
async def traffic(database: Database, nats_url: str, bus: Bus, log: EventLog) -> list[RawEvent]:
    """A log of random executions that read models have followed, with nothing running; its events."""
    await Traffic(log, seed=5).run(executions=40)
    execution_id = ExecutionId(new_id())
    created = ExecutionCreated(workflow_id=WorkflowId("w"), workflow_version=1, digest="d", input="x" * BLOB_BYTES * 2)
    facts = (
        created,
        ExecutionStarted(executor="e", epoch=1, command="run"),
        ExecutionCompleted(output="y" * BLOB_BYTES * 2),
    )
    new = [traffic_event(fact, TENANT, WorkflowId("w"), execution_id) for fact in facts]
    await log.append(execution_stream(execution_id), GENESIS, new)
    async with projector(database.service_url, nats_url):
        await followed(database, log)
    return await log.read_log(0, 100_000)


async def everything(log: EventLog, streams: set[Any]) -> list[RawEvent]:
    """All events of streams, wherever they are."""
    found: list[RawEvent] = []
    for stream in streams:
        found += await log.read_raw(stream)
    return sorted(found, key=lambda event: event.position)


async def test_a_kill_at_any_moment_loses_nothing_and_moves_nothing_twice(
    database: Database, folder: Path, log: EventLog, traffic: list[RawEvent], tmp_path: Path
) -> None:
    (tmp_path / "key.pem").write_bytes(KEY.pem())
    environ = {
        "PLAYHEAD_DATABASE_URL": database.service_url,
        "PLAYHEAD_DATABASE_OWNER_URL": database.owner_url,
        "PLAYHEAD_ARCHIVE_URL": str(folder),
        "PLAYHEAD_SIGNING_KEY": str(tmp_path / "key.pem"),
    }
    streams = {event.stream_id for event in traffic}
    moved: list[int] = []
    unreferred = 0
    for point in (*POINTS, ""):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.dying_archive", env=os.environ | environ | {"PLAYHEAD_DIE_AT": point}
        )
        assert await process.wait() == (-9 if point else 0), point
        assert await everything(log, streams) == traffic
        assert await log.hydrate([raw.decode() for raw in await everything(log, streams)])
        assert (await verify_log(log)).intact
        verdict = await verify_archive(log, ArchiveFiles(str(folder)), [KEY.public])
        assert verdict.faults == []
        moved.append(verdict.executions)
        unreferred = len(verdict.unreferred)
    assert moved[:3] == [0, 0, 0]
    assert moved[2] < moved[3] < moved[4]
    words = ("archive", "--before", "2099-01-01", "--json")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "playhead_cli", *words, env=os.environ | environ, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    report = msgspec.json.decode(out, type=ArchiveReport)
    assert (process.returncode, report.executions, report.finished) == (0, 0, [])
    async with nothing_is_archived(database.service_url):
        with pytest.raises(AnotherArchiving):
            await archived(database, folder, datetime.now(UTC))
    told = [event for event in await log.read_log(0, 100_000) if event.type == "execution.archived"]
    files = ArchiveFiles(str(folder)).names()
    assert len(told) == len(files) - unreferred


async def test_what_was_done_to_the_archive_is_found_out(
    database: Database, folder: Path, log: EventLog, traffic: list[RawEvent]
) -> None:
    checkpoint = await signed(log)
    await archived(database, folder, datetime.now(UTC), compress=False)
    files = ArchiveFiles(str(folder))
    victim = (await anext(log.auditing.tombstones())).stream_id
    stone = (await log.archive.tombstones([victim]))[victim]
    name, content = stone.file, (folder / stone.file).read_bytes()

    async def found(altered: bytes) -> str:
        (folder / name).write_bytes(altered)
        verdict = await verify_archive(log, files, [KEY.public])
        (folder / name).write_bytes(content)
        [fault] = verdict.faults
        assert fault.where == name
        return fault.reason

    data = content[stone.offset : stone.offset + stone.size]
    assert "is not what was written" in await found(content.replace(data, data.replace(b'"type":"', b'"type":"x', 1)))
    assert "not written to its end" in await found(content[: content.rindex(b'{"kind":"manifest"')])
    assert "signature" in await found(content.replace(b'"archived_at":"2', b'"archived_at":"3'))
    assert "not those that were signed" in await found(content.replace(data, b""))

    (folder / name).write_bytes(content.replace(data, data.replace(b'"type":"', b'"type":"x', 1)))
    async with open_log(database.service_url, archive_url=str(folder)) as reader:
        with pytest.raises(BrokenArchive, match=victim):
            await reader.read(victim)
    (folder / name).write_bytes(content)

    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(await psycopg.AsyncConnection.connect(database.service_url))
        for forbidden in (
            "delete from log.events",
            "delete from log.tombstones",
            "select log.archive('{}', '{}', '{}', 'x', '{}', '{}')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await service.execute(forbidden)
            await service.rollback()
    async with await psycopg.AsyncConnection.connect(database.owner_url) as owner:
        for forbidden in (
            "delete from log.events",
            "delete from log.tombstones",
            "update log.tombstones set file = ''",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await owner.execute(forbidden)
            await owner.rollback()
        await owner.execute("alter table log.tombstones disable trigger all")
        await owner.execute("delete from log.tombstones where stream_id = %s", (victim,))
    verdict = await verify_archive(log)
    assert [fault.where for fault in verdict.faults] == [victim]
    assert (await prove(log.auditing.places(), [checkpoint], [KEY.public])).faults
    with pytest.raises(BadArchiveUrl):
        ArchiveFiles("nowhere://x")
