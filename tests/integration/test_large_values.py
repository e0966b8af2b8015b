"""Large values on a real PostgreSQL: stored apart and once, read as if they were in the event, and never changed."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import psycopg
import pytest

from playhead_contracts.errors import VersionConflict
from playhead_contracts.events import (
    BlockCompleted,
    BlockReference,
    BlockReused,
    BlockSkipped,
    EventData,
    EventMatched,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionStarted,
    Json,
    MatchedEvent,
    NewEvent,
    decode_joined,
)
from playhead_contracts.ids import BlockPath, ExecutionId, StreamId, TenantId, WorkflowId, execution_stream
from playhead_eventlog import BLOB_BYTES, GENESIS, BlobKey, BrokenBlob, EventLog, chain, open_log
from playhead_eventlog.blobs import digest_of
from playhead_eventlog.lines import event_line
from playhead_projector.folding import Folding
from playhead_runtime.ids import new_id
from tests.conftest import Database
from tests.traffic import TENANTS, new_event

PATH = BlockPath("a")
ACME, GLOBEX = TENANTS


def large(text: str = "x") -> Json:
    """A value that is stored apart."""
    return {"z": [text, 1.5, None, 'quote " and \x00 and 漢字'], "a": text * (BLOB_BYTES // len(text) + 1)}


def new(data: EventData, tenant: TenantId = ACME) -> NewEvent:
    return new_event(data, tenant, WorkflowId("w"), ExecutionId("x"))


def completed(value: Json, path: str = "a") -> NewEvent:
    return new(BlockCompleted(path=BlockPath(path), outputs=value))


def stream() -> StreamId:
    return execution_stream(ExecutionId(new_id()))


async def stored(database: Database) -> list[tuple[str, str, int]]:
    """Tenant, digest and size of every blob."""
    async with await psycopg.AsyncConnection.connect(database.service_url) as connection:
        rows = await connection.execute("select tenant, digest, size_bytes from log.blobs order by created_at, digest")
        return await rows.fetchall()


async def tamper(database: Database, statement: str) -> None:
    """What an owner can do who means it."""
    async with await psycopg.AsyncConnection.connect(database.owner_url) as owner:
        await owner.execute("alter table log.blobs disable trigger all")
        await owner.execute("alter table log.blobs drop constraint blobs_are_under_their_digest")
        await owner.execute(statement)  # pyright: ignore[reportArgumentType, reportCallIssue]


@pytest.fixture
async def log(database: Database) -> AsyncGenerator[EventLog]:
    async with open_log(database.service_url) as log:
        yield log


async def test_a_large_value_is_stored_apart_and_read_as_if_it_were_in_its_event(
    log: EventLog, database: Database
) -> None:
    name = stream()
    events = [new(BlockSkipped(path=PATH, reason="r")), completed(large()), completed({"small": 1})]
    appended = await log.append(name, GENESIS, events)
    raws = await log.read_raw(name)
    assert all(len(raw.data) < 1000 for raw in raws)
    assert appended.frames == tuple(raw.frame() for raw in raws)
    [(_, digest, size_bytes)] = await stored(database)
    reference = raws[1].blobs["outputs"]
    assert (reference.digest, reference.size_bytes) == (digest, size_bytes)

    for read in (
        await log.read(name),
        (await log.load(name))[0],
        (await log.load_many({name: 3}))[name],
        await log.hydrate([raw.decode() for raw in await log.read_log(0, 10)]),
    ):
        assert [event.version for event in read] == [1, 2, 3]
        assert isinstance(read[1].data, BlockCompleted)
        assert read[1].data.outputs == large()
        assert read[1].data.blobs == {"outputs": reference}
    whole = [decode_joined(await log.whole(frame)).data for frame in appended.frames]
    assert whole == [event.data for event in await log.read(name)]
    assert [await log.whole(frame) is frame for frame in appended.frames] == [True, False, True]


async def test_the_hash_chain_covers_the_reference(log: EventLog) -> None:
    name = stream()
    head = (await log.append(name, GENESIS, [completed(large())])).head
    [raw] = await log.read_raw(name)
    assert raw.hash == chain(GENESIS.hash, raw.meta, raw.data) == head.hash
    [(key, content)] = (await log.blobs([BlobKey(ACME, raw.blobs["outputs"].digest)])).items()
    assert digest_of(content) == key.digest
    assert msgspec.json.decode(content) == large()


async def test_a_field_of_a_field_is_stored_apart_too(log: EventLog) -> None:
    name = stream()
    event = MatchedEvent(number=0, position=1, type="paid", source="/bank", id="e-1", data=large())
    await log.append(name, GENESIS, [new(EventMatched(path=PATH, event=event))])
    [raw], [read] = await log.read_raw(name), await log.read(name)
    assert list(raw.blobs) == ["event.data"]
    assert isinstance(read.data, EventMatched)
    assert read.data.event == event


async def test_the_same_value_is_stored_once_for_a_tenant(log: EventLog, database: Database) -> None:
    name, value = stream(), large()
    created = ExecutionCreated(workflow_id=WorkflowId("w"), workflow_version=1, digest="d", input=value)
    head = (await log.append(name, GENESIS, [new(created), completed(value), completed(value)])).head
    await log.append(name, head, [new(ExecutionCompleted(output=value))])
    await asyncio.gather(*(log.append(stream(), GENESIS, [completed(value)]) for _ in range(5)))
    assert [tenant for tenant, _, _ in await stored(database)] == [ACME]
    await log.append(stream(), GENESIS, [new(BlockCompleted(path=PATH, outputs=value), GLOBEX)])
    assert sorted(tenant for tenant, _, _ in await stored(database)) == [ACME, GLOBEX]


async def test_a_reused_block_has_the_large_outputs_of_the_original(log: EventLog) -> None:
    source, fork = ExecutionId(new_id()), stream()
    original = BlockCompleted(path=PATH, outputs=large("o"), inputs={"n": large("i")})
    await log.append(execution_stream(source), GENESIS, [new(original), completed({"small": 1}, "b")])
    reused = [
        new(BlockReused(path=BlockPath(path), reference=BlockReference(execution_id=source, version=version)))
        for path, version in (("a", 1), ("b", 2))
    ]
    await log.append(fork, GENESIS, [*reused, completed(large("own"))])
    first, second, third = [event.data for event in await log.read(fork)]
    assert isinstance(first, BlockReused)
    assert isinstance(second, BlockReused)
    assert isinstance(third, BlockCompleted)
    assert (first.outputs, second.outputs, third.outputs) == (large("o"), {"small": 1}, large("own"))


async def test_a_folding_sees_the_values_whether_it_kept_the_state_or_reads_it_again(log: EventLog) -> None:
    execution_id = ExecutionId(new_id())
    name = execution_stream(execution_id)
    created = ExecutionCreated(workflow_id=WorkflowId("w"), workflow_version=1, digest="d", input=large("in"))
    started = ExecutionStarted(executor="e-1", epoch=1, command="c-1")
    head = (await log.append(name, GENESIS, [new(created), new(started)])).head
    await log.append(name, head, [completed(large("out"))])
    batch = await log.read_log(0, 10)
    at_once = await Folding(log).changes(batch, ["execution"])
    later = await Folding(log).changes(batch[2:], ["execution"])
    for changes in (at_once, later):
        [change] = changes.executions
        assert change.state.input == large("in")
        assert change.blocks[PATH].state.outputs == large("out")


async def test_an_append_that_is_repeated_finds_its_blobs_there(log: EventLog, database: Database) -> None:
    name, events = stream(), [completed(large())]
    first = await log.append(name, GENESIS, events)
    assert (await log.append(name, GENESIS, events)).head == first.head
    with pytest.raises(VersionConflict):
        await log.append(name, GENESIS, [completed(large())])
    assert len(await stored(database)) == 1
    assert len(await log.read(name)) == 1


async def test_appends_that_are_too_large_to_go_together_all_arrive(log: EventLog) -> None:
    names = [stream() for _ in range(30)]
    # Some 40 MB, with small ones in between.
    values: list[Json] = [{"n": n, "text": f"{n:03}" * 450_000} if n % 2 else {"n": n} for n in range(30)]
    await asyncio.gather(
        *(log.append(name, GENESIS, [completed(value)]) for name, value in zip(names, values, strict=True))
    )
    loaded = await log.load_many(dict.fromkeys(names, 1))
    found = [event.data for name in names for event in loaded[name]]
    assert [data.outputs for data in found if isinstance(data, BlockCompleted)] == values


async def test_eight_writers_of_the_same_and_other_values_neither_wait_for_ever_nor_lose_one(
    log: EventLog, database: Database
) -> None:
    shared = [large(f"shared {n}") for n in range(6)]

    async def write(number: int) -> list[tuple[StreamId, list[Json]]]:
        written: list[tuple[StreamId, list[Json]]] = []
        async with open_log(database.service_url) as writer:
            for turn in range(5):
                # The same blobs in another order in each append: whoever locked as it goes would wait in a circle.
                values = shared[(number + turn) % 6 :] + shared[: (number + turn) % 6]
                values = [*values[:: 1 if number % 2 else -1], large(f"{number}/{turn}")]
                name = stream()
                await writer.append(name, GENESIS, [completed(value) for value in values])
                written.append((name, values))
        return written

    seen = 0

    async def follow() -> None:
        """An event is never there before the blobs that it refers to."""
        nonlocal seen
        position = 0
        while seen < 8 * 5 * 7:
            for raw in await log.read_log(position, 50):
                keys = {BlobKey(ACME, reference.digest) for reference in raw.blobs.values()}
                assert keys == (await log.blobs(keys)).keys()
                position, seen = raw.position, seen + 1

    async with asyncio.timeout(120):
        *written, _ = await asyncio.gather(*(write(number) for number in range(8)), follow())
    assert len(await stored(database)) == 6 + 8 * 5
    for name, values in [one for some in written if some is not None for one in some]:
        read = [event.data for event in await log.read(name)]
        assert [data.outputs for data in read if isinstance(data, BlockCompleted)] == values


async def test_a_value_that_was_changed_is_told_by_reading_verifying_and_exporting(
    log: EventLog, database: Database
) -> None:
    name, other = stream(), stream()
    head = (await log.append(name, GENESIS, [completed({"small": 1}), completed(large())])).head
    await log.append(name, head, [completed({"small": 2})])
    await log.append(other, GENESIS, [completed(large("another"))])
    digest = (await log.read_raw(name))[1].blobs["outputs"].digest
    change = "update log.blobs set content = overlay(content placing 'y'::bytea from 10) where digest = '{}'"
    await tamper(database, change.format(digest))
    with pytest.raises(BrokenBlob, match=rf"outputs of {name} version 2: .*{digest}, is not what was written"):
        await log.read(name)
    frame = (await log.read_raw(name))[1].frame()
    with pytest.raises(BrokenBlob):
        await log.whole(frame)
    await log.read(other)
    code, told = await verified(database)
    assert (code, told["intact"], told["events"], told["blobs"]) == (1, False, 4, 2)
    assert [(fault["stream_id"], fault["version"]) for fault in told["breaks"]] == [(name, 2)]
    assert (await verified(database, other))[0] == 0
    code, out, said = await cli(database, "export")
    assert code != 0
    assert f"outputs of {name} version 2" in said
    assert len(out.splitlines()) < 4


async def test_a_value_that_is_gone_is_told(log: EventLog, database: Database) -> None:
    name = stream()
    await log.append(name, GENESIS, [completed(large())])
    await tamper(database, "delete from log.blobs")
    with pytest.raises(BrokenBlob, match=rf"outputs of {name} version 1: .* is not in the log"):
        await log.read(name)
    code, told = await verified(database)
    assert (code, [(fault["stream_id"], fault["version"]) for fault in told["breaks"]]) == (1, [(name, 1)])
    assert "not in the log" in told["breaks"][0]["reason"]


async def test_an_export_has_every_value_once_before_the_first_event_that_needs_it(
    log: EventLog, database: Database
) -> None:
    name = stream()
    head = (await log.append(name, GENESIS, [completed({"small": 1}), completed(large())])).head
    await log.append(name, head, [completed(large()), new(BlockCompleted(path=PATH, outputs=large(), inputs=None))])
    assert await verified(database) == (0, {"streams": 1, "events": 4, "blobs": 1, "intact": True, "breaks": []})
    code, out, _ = await cli(database, "export", name)
    lines = out.splitlines(keepends=True)
    assert code == 0
    assert [msgspec.json.decode(line).get("kind", "event") for line in lines] == ["event", "blob", *["event"] * 3]
    raws = await log.read_raw(name)
    assert [lines[0], *lines[2:]] == [event_line(raw) for raw in raws]
    blob = msgspec.json.decode(lines[1])
    reference = raws[1].blobs["outputs"]
    assert (blob["tenant"], blob["digest"], blob["size_bytes"]) == (ACME, reference.digest, reference.size_bytes)
    # Whoever checks it cuts the bytes out.
    content = lines[1].removesuffix(b"}\n")[-blob["size_bytes"] :]
    assert lines[1].removesuffix(content + b"}\n").endswith(b'"content":')
    assert digest_of(content) == blob["digest"]
    assert msgspec.json.decode(content) == large()


@pytest.mark.parametrize(
    "statement",
    [
        "update log.blobs set content = ''",
        "delete from log.blobs",
        "truncate log.blobs",
        "insert into log.blobs (tenant, digest, content) values ('acme', 'sha256:ab', '')",
    ],
)
async def test_the_services_role_can_change_no_value(log: EventLog, database: Database, statement: str) -> None:
    await log.append(stream(), GENESIS, [completed(large())])
    async with await psycopg.AsyncConnection.connect(database.service_url) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement)  # pyright: ignore[reportArgumentType, reportCallIssue]


@pytest.mark.parametrize(
    "statement", ["update log.blobs set content = ''", "delete from log.blobs", "truncate log.blobs"]
)
async def test_not_even_the_owner_can_change_a_value_by_a_statement(
    log: EventLog, database: Database, statement: str
) -> None:
    await log.append(stream(), GENESIS, [completed(large())])
    async with await psycopg.AsyncConnection.connect(database.owner_url) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"log\.blobs is append-only"):
            await connection.execute(statement)  # pyright: ignore[reportArgumentType, reportCallIssue]


async def test_no_content_can_be_put_under_the_digest_of_another(database: Database) -> None:
    async with await psycopg.AsyncConnection.connect(database.service_url) as connection:
        with pytest.raises(psycopg.errors.CheckViolation):
            await connection.execute(
                "select log.append_with_blobs(array['acme'], array['sha256:ab'], array['1'::bytea], "
                "'{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')"
            )


async def cli(database: Database, *words: str) -> tuple[int | None, bytes, str]:
    """What a command of `playhead` exits with, prints, and says besides."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "playhead_cli",
        *words,
        env=os.environ | {"PLAYHEAD_DATABASE_URL": database.service_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, said = await process.communicate()
    return process.returncode, out, said.decode()


async def verified(database: Database, *words: str) -> tuple[int | None, dict[str, Any]]:
    code, out, _ = await cli(database, "verify", *words, "--json")
    return code, msgspec.json.decode(out)
