"""Signing the log: at intervals, by one of several, going on after whatever ended the last signer; and never over a log
or a folder that somebody changed.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from playhead_cli.main import app
from playhead_cli.verifying import Witnesses, verify_log
from playhead_contracts.ids import ExecutionId, execution_stream
from playhead_eventlog import GENESIS, EventLog, open_log
from playhead_eventlog.checkpoints import Checkpoint, Checkpoints, read_checkpoint
from playhead_eventlog.signing import PublicKey, SigningKey
from playhead_eventlog.stopping import stop_tasks
from playhead_projector.checkpoints.signer import CheckpointsStopped, Signer
from playhead_projector.checkpoints.signing import Signing
from playhead_projector.settings import Settings
from playhead_runtime.clock import Clock
from playhead_runtime.ids import new_id
from playhead_runtime.settings import BadSetting
from tests.conftest import Database
from tests.forging import KEY, forger, signer, skipped
from tests.system import eventually

SOON = timedelta(milliseconds=50)


@pytest.fixture
async def log(database: Database) -> AsyncGenerator[EventLog]:
    async with open_log(database.service_url) as log:
        yield log


async def append(log: EventLog, count: int) -> None:
    """A stream of so many events."""
    name = ExecutionId(new_id())
    await log.append(execution_stream(name), GENESIS, [skipped(f"event {n}", name) for n in range(count)])


def signed(folder: Path, *keys: PublicKey) -> list[Checkpoint]:
    return [read_checkpoint(each.line, keys or (KEY.public,)) for each in Checkpoints(folder).lines()]


@asynccontextmanager
async def signing(signer: Signer) -> AsyncGenerator[Signer]:
    task = asyncio.create_task(signer.run())
    try:
        yield signer
    finally:
        await stop_tasks(task)


async def is_intact(log: EventLog, folder: Path, *keys: PublicKey) -> bool:
    report = await verify_log(log, Witnesses((folder,), keys or (KEY.public,)))
    assert report.checkpoints[0].proof.checkpoints > 0
    return report.intact


async def test_the_log_is_signed_every_so_many_events_and_at_intervals_and_only_when_something_came(
    database: Database, log: EventLog, tmp_path: Path
) -> None:
    await append(log, 25)
    made = Signer(log, database.service_url, Signing(Checkpoints(tmp_path), KEY, SOON, 10), Clock())
    async with signing(made):
        await eventually(lambda: reached(made, 25))
        assert [each.events for each in signed(tmp_path)] == [10, 20, 25]
        await append(log, 2)
        await eventually(lambda: reached(made, 27))
        await made.check()
    assert [each.events for each in signed(tmp_path)] == [10, 20, 25, 27]
    assert await is_intact(log, tmp_path)


async def reached(signer: Signer, position: int) -> bool:
    return signer.position >= position


async def test_a_signer_goes_on_from_the_last_checkpoint_and_drops_a_line_that_was_not_written_to_its_end(
    database: Database, log: EventLog, tmp_path: Path
) -> None:
    await append(log, 3)
    await signer(log, database.service_url, tmp_path).sign_now()
    [file] = tmp_path.iterdir()
    with file.open("ab") as opened:
        opened.write(b'{"format":"playhead-checkpoint/1","log_id":"')
    await append(log, 4)
    await signer(log, database.service_url, tmp_path).sign_now()
    await signer(log, database.service_url, tmp_path).sign_now()
    assert [each.events for each in signed(tmp_path)] == [3, 7]
    assert await is_intact(log, tmp_path)


async def test_two_signers_on_one_folder_write_one_chain(database: Database, log: EventLog, tmp_path: Path) -> None:
    how = Signing(Checkpoints(tmp_path), KEY, SOON, 2)
    await append(log, 5)
    one, other = (Signer(log, database.service_url, how, Clock()) for _ in range(2))
    async with signing(one):
        await eventually(lambda: reached(one, 5))
        async with signing(other):
            await append(log, 5)
            await eventually(lambda: reached(one, 10))
    async with signing(other):
        await append(log, 5)
        await eventually(lambda: reached(other, 15))
    assert [each.events for each in signed(tmp_path)][-1] == 15
    assert await is_intact(log, tmp_path)


async def test_another_key_goes_on_after_walking_all_that_the_one_before_had_signed(
    database: Database, log: EventLog, tmp_path: Path
) -> None:
    newer = SigningKey.new()
    await append(log, 3)
    await signer(log, database.service_url, tmp_path).sign_now()
    await append(log, 3)
    await signer(log, database.service_url, tmp_path, newer).sign_now()
    assert [each.key_id for each in signed(tmp_path, KEY.public, newer.public)] == [KEY.key_id, newer.key_id]
    assert await is_intact(log, tmp_path, KEY.public, newer.public)
    assert not await is_intact(log, tmp_path, newer.public)


async def test_a_signer_stops_and_says_why_when_the_folder_is_not_what_it_wrote(
    database: Database, log: EventLog, tmp_path: Path
) -> None:
    await append(log, 5)
    made = Signer(log, database.service_url, Signing(Checkpoints(tmp_path), KEY, SOON, 2), Clock())
    async with signing(made):
        await eventually(lambda: reached(made, 5))
        [file] = tmp_path.iterdir()
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join(lines[:-1]))
        await append(log, 1)

        async def stopped() -> bool:
            with suppress(CheckpointsStopped):
                await made.check()
                return False
            return True

        await eventually(stopped)
    assert len(signed(tmp_path)) == len(lines) - 1


async def test_a_log_that_was_rewritten_under_another_key_is_not_believed(
    database: Database, log: EventLog, tmp_path: Path
) -> None:
    await append(log, 5)
    await signer(log, database.service_url, tmp_path).sign_now()
    async with forger(database) as hand:
        await hand.run("update log.events set hash = sha256('x') where position = 2")
    with pytest.raises(Exception, match="is not what the log says"):
        await signer(log, database.service_url, tmp_path, SigningKey.new()).sign_now()


def test_wrong_settings_are_refused_by_name(tmp_path: Path) -> None:
    urls: dict[str, Any] = {"database_url": "postgresql://unused", "nats_url": "nats://unused"}
    assert Settings(**urls).signing() is None
    key = KEY.pem().decode()
    wrong: dict[str, dict[str, Any]] = {
        "PLAYHEAD_SIGNING_KEY": {"checkpoint_dir": tmp_path},
        "PLAYHEAD_CHECKPOINT_DIR": {"signing_key": key},
        "PLAYHEAD_CHECKPOINT_INTERVAL": {
            "checkpoint_dir": tmp_path,
            "signing_key": key,
            "checkpoint_interval": "soon",
        },
    }
    for variable, given in wrong.items():
        with pytest.raises(BadSetting, match=variable):
            Settings(**urls, **given).signing()
    with pytest.raises(BadSetting) as refused:
        Settings(**urls, checkpoint_dir=tmp_path, signing_key="s3cret" * 9).signing()
    assert "s3cret" not in str(refused.value)


async def test_the_commands_make_a_key_sign_list_and_verify(database: Database, log: EventLog, tmp_path: Path) -> None:
    await append(log, 4)
    keys, folder = tmp_path / "keys", tmp_path / "signed"
    assert (await cli(database, "checkpoints", "keygen", str(keys)))[0] == 0
    assert (await cli(database, "checkpoints", "keygen", str(keys)))[0] == 2
    assert (keys / "signing.pem").stat().st_mode & 0o077 == 0
    where, public = ["--checkpoints", str(folder)], ["--public-key", str(keys / "signing.pub")]
    code, out = await cli(
        database, "checkpoints", "sign-now", *where, "--signing-key", str(keys / "signing.pem"), "--json"
    )
    assert (code, msgspec.json.decode(out)["events"]) == (0, 4)
    code, out = await cli(database, "checkpoints", "list", *where, *public, "--json")
    assert (code, [each["position"] for each in msgspec.json.decode(out)["items"]]) == (0, [4])
    code, out = await cli(database, "verify", *where, *public, "--json")
    assert (code, msgspec.json.decode(out)["checkpoints"][0]["proof"]["events"]) == (0, 4)
    async with forger(database) as hand:
        await hand.run("delete from log.events where position = 4")
        await hand.run("delete from log.heads")
    code, out = await cli(database, "verify", *where, *public)
    assert code == 1
    assert "not as signed: between positions" in out


async def cli(database: Database, *words: str) -> tuple[int, str]:
    """What a command exits with, and prints. In a thread: it has a loop of its own."""
    environ = {"PLAYHEAD_DATABASE_URL": database.service_url, "COLUMNS": "200"}
    ran = await asyncio.to_thread(CliRunner().invoke, app, list(words), env=environ)
    return ran.exit_code, ran.stdout
