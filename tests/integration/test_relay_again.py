"""The bus copy made again from a position on: by whoever relays, whatever is killed meanwhile."""

import asyncio
from functools import partial
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from playhead_cli.main import app
from playhead_contracts.events import decode_envelope
from playhead_eventlog import EventLog
from playhead_projector import relaying as again
from playhead_projector.building import Progress
from playhead_projector.rebuild import PositionNotReached
from playhead_projector.relaying import NoRelay, WrongRange, relay_from
from playhead_projector.settings import Settings
from playhead_projector.store import open_store
from playhead_runtime.bus import Bus
from playhead_runtime.provision import missing_streams, provision
from playhead_runtime.settings import BadSetting
from tests.conftest import Database
from tests.derived import api, copies, stream_state
from tests.relaying import copied, has_messages, log, relaying
from tests.system import eventually, projector
from tests.traffic import Traffic

__all__ = ["log"]


@pytest.fixture
def settings(database: Database) -> Settings:
    return Settings(database_url=database.service_url, nats_url="")


async def assert_is_the_log_from(position: int, bus: Bus, log: EventLog) -> None:
    """The stream holds the log from a position on, and each copy names the event of its tenant before it."""
    last: dict[str, int] = {}
    expected: list[tuple[str, str]] = []
    for raw in await log.read_log(0, 1_000_000):
        tenant = decode_envelope(raw.meta).tenant
        expected.append((str(raw.position), str(last.get(tenant, 0))))
        last[tenant] = raw.position
    found = [(copy.headers["playhead-position"], copy.headers["playhead-previous"]) for copy in await copies(bus)]
    assert found == [each for each in expected if int(each[0]) >= position]


async def test_the_copy_begins_again_where_it_is_asked_to_and_goes_on(
    log: EventLog, bus: Bus, database: Database, settings: Settings
) -> None:
    seen: list[Progress] = []
    async with relaying(log, bus, database) as relay:
        await Traffic(log, seed=1).run(20)
        await copied(relay, log)
        before = await stream_state(bus)
        last = await log.last_position()
        report = await relay_from(settings, 30, None, seen.append)
        assert (report.from_position, report.to_position) == (30, last)
        await assert_is_the_log_from(30, bus, log)
        # Sequences go on, so durable consumers are given those events once more.
        assert (await stream_state(bus))["last_seq"] == before["last_seq"] + last - 29
        await Traffic(log, seed=2).run(5)
        await copied(relay, log)
        await assert_is_the_log_from(30, bus, log)
        assert (await relay_from(settings, 1)).from_position == 1
        await assert_is_the_log_from(1, bus, log)
    assert all(progress.until == last for progress in seen)


async def test_a_request_stands_until_a_relay_is_there(
    log: EventLog, bus: Bus, database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(again, "PATIENCE_SECONDS", 0.3)
    await Traffic(log, seed=3).run(10)
    async with relaying(log, bus, database) as relay:
        await copied(relay, log)
    with pytest.raises(NoRelay):
        await relay_from(settings, 10)
    async with relaying(log, bus, database) as relay:
        await copied(relay, log)
        await assert_is_the_log_from(10, bus, log)
    # It was carried out once: the next relay goes on where this one was.
    sequence = (await stream_state(bus))["last_seq"]
    async with relaying(log, bus, database) as relay:
        await copied(relay, log)
    assert (await stream_state(bus))["last_seq"] == sequence


async def test_a_relay_that_is_killed_in_the_middle_of_it_leaves_the_rest_to_the_next(
    log: EventLog, bus: Bus, database: Database
) -> None:
    await Traffic(log, seed=4).run(60)
    async with relaying(log, bus, database) as relay:
        await copied(relay, log)
    for position in (40, 7, 90):
        async with open_store(database.service_url) as store:
            await store.ask_relay(position)
            kills = 0
            while await store.open_relay_request() is not None and kills < 6:
                before = await stream_state(bus)
                async with relaying(log, bus, database):
                    # Killed right after it emptied the stream, or when the first batch has just arrived.
                    await eventually(partial(_is_touched, bus, before, is_emptied=kills % 2 == 0))
                kills += 1
        assert kills
        async with relaying(log, bus, database) as relay:
            await copied(relay, log)
        await assert_is_the_log_from(position, bus, log)


async def test_what_is_not_in_the_log_is_refused_before_anything_happens(
    log: EventLog, bus: Bus, database: Database, settings: Settings
) -> None:
    async with relaying(log, bus, database) as relay:
        await Traffic(log, seed=5).run(5)
        await copied(relay, log)
        last = await log.last_position()
        for wrong in ((last + 1, None), (1, last + 1)):
            with pytest.raises(PositionNotReached):
                await relay_from(settings, *wrong)
        for wrong in ((0, None), (5, 4)):
            with pytest.raises(WrongRange):
                await relay_from(settings, *wrong)
    await assert_is_the_log_from(1, bus, log)


async def test_it_makes_a_stream_that_somebody_deleted(
    log: EventLog, bus: Bus, database: Database, settings: Settings
) -> None:
    await Traffic(log, seed=6).run(10)
    asked = asyncio.create_task(relay_from(settings, 12))
    await api(bus, "STREAM.DELETE")
    async with relaying(log, bus, database) as relay:
        await asked
        await copied(relay, log)
    await eventually(lambda: has_messages(bus, 1))
    found = {int(copy.headers["playhead-position"]) for copy in await copies(bus)}
    assert found >= set(range(12, await log.last_position() + 1))


async def _is_touched(bus: Bus, before: dict[str, int], *, is_emptied: bool) -> bool:
    state = await stream_state(bus)
    has_moved = state["last_seq"] > before["last_seq"]
    return has_moved or (is_emptied and not state["messages"])


async def test_the_bus_keeps_as_much_as_the_settings_say_and_tells_where_the_rest_is(
    bus: Bus, database: Database, nats_url: str
) -> None:
    told = {"events_max_age": "36h", "events_max_bytes": 5 << 20, "public_url": "https://flows.example/"}
    async with projector(database.service_url, nats_url, **told):

        async def config() -> dict[str, Any] | None:
            found = (await api(bus, "STREAM.INFO"))["config"]
            return found if found["max_bytes"] == 5 << 20 else None

        found = await eventually(config)
        assert found["max_age"] == 36 * 3600 * 10**9
        assert found["metadata"]["playhead-log"] == "https://flows.example/v1/log"
        # Services that do not fill it leave it as it is; one that was lost comes back as it was.
        await provision(bus)
        assert await config()
        await bus.api("STREAM.DELETE.PLAYHEAD_TASKS", b"")
        await bus.api("STREAM.DELETE.PLAYHEAD_EVENTS", b"")

        async def is_back() -> bool:
            names = await missing_streams(bus)
            return not names

        await eventually(is_back)
        assert await config()


@pytest.mark.parametrize("wrong", ["7", "a while", "10ms", "0s"])
def test_how_long_the_bus_keeps_events_is_a_duration(wrong: str) -> None:
    with pytest.raises(BadSetting, match="PLAYHEAD_EVENTS_MAX_AGE"):
        Settings(database_url="", nats_url="", events_max_age=wrong).streams()


async def test_the_command_has_it_published_again_and_says_so(
    log: EventLog, bus: Bus, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAYHEAD_DATABASE_URL", database.service_url)
    async with relaying(log, bus, database) as relay:
        await Traffic(log, seed=7).run(10)
        await copied(relay, log)
        last = await log.last_position()
        done = await asyncio.to_thread(CliRunner().invoke, app, ["relay", "--from", "5", "--json"])
        assert done.exit_code == 0, done.output
        report = msgspec.json.decode(done.stdout)
        assert (report["from_position"], report["to_position"], report["positions"]) == (5, last, last - 4)
        await assert_is_the_log_from(5, bus, log)
        shown = await asyncio.to_thread(CliRunner().invoke, app, ["relay", "--from", "1"])
        assert f"positions 1 to {last} are on the bus again" in shown.output
        refused = await asyncio.to_thread(CliRunner().invoke, app, ["relay", "--from", str(last + 1)])
        assert refused.exit_code == 1
