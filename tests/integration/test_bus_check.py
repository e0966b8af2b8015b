"""The copy on the bus is held against the log: every message that is not what the relay makes of its event is named."""

from collections.abc import Awaitable, Callable

import pytest

from playhead_cli.bus_check import BusReport, verify_bus
from playhead_eventlog import EventLog
from playhead_runtime.bus import Bus
from playhead_runtime.ids import new_id
from tests.conftest import Database
from tests.derived import Copy, api, copies
from tests.relaying import copied, log, relaying
from tests.traffic import Traffic

__all__ = ["log"]


@pytest.fixture
async def written(log: EventLog, bus: Bus, database: Database) -> list[Copy]:
    """A log and its copy; the relay is gone, so that nobody repairs what is done to it."""
    await Traffic(log).run(4)
    async with relaying(log, bus, database) as relay:
        await copied(relay, log)
    return await copies(bus)


async def put_back(bus: Bus, messages: list[Copy]) -> None:
    """Write the stream anew, as somebody who may publish there."""
    await api(bus, "STREAM.PURGE")
    for message in messages:
        await bus.send(message.subject, message.body, new_id(), own_headers(message))


def own_headers(message: Copy) -> dict[str, str]:
    """Those that are not the server's."""
    return {name: value for name, value in message.headers.items() if not name.lower().startswith("nats-")}


def said(report: BusReport) -> list[tuple[str, int]]:
    return [(fault.kind, fault.position) for fault in report.faults]


async def test_the_copy_that_the_relay_made_is_the_log(written: list[Copy], log: EventLog, bus: Bus) -> None:
    report = await verify_bus(log, bus)
    last = await log.last_position()
    assert (report.intact, report.messages, report.first_position) == (True, len(written), 1)
    assert (report.last_position, report.behind) == (last, 0)
    # What the relay has not copied yet is told, and no fault.
    await Traffic(log, seed=2).run(1)
    report = await verify_bus(log, bus)
    assert report.intact
    assert report.behind == await log.last_position() - last


async def alters_a_body(bus: Bus, messages: list[Copy]) -> tuple[str, int]:
    at = next(n for n, each in enumerate(messages) if b'"path":"b1"' in each.body)
    changed = Copy(messages[at].subject, messages[at].headers, messages[at].body.replace(b'"b1"', b'"b2"'))
    await put_back(bus, [*messages[:at], changed, *messages[at + 1 :]])
    return "altered", position(changed)


async def alters_a_header(bus: Bus, messages: list[Copy]) -> tuple[str, int]:
    changed = Copy(messages[3].subject, messages[3].headers | {"ce-time": "2001-01-01T00:00:00Z"}, messages[3].body)
    await put_back(bus, [*messages[:3], changed, *messages[4:]])
    return "altered", position(changed)


async def alters_the_subject(bus: Bus, messages: list[Copy]) -> tuple[str, int]:
    changed = Copy(messages[3].subject.replace("refunds", "onboarding") + ".x", messages[3].headers, messages[3].body)
    await put_back(bus, [*messages[:3], changed, *messages[4:]])
    return "altered", position(changed)


async def removes_one(bus: Bus, messages: list[Copy]) -> tuple[str, int]:
    await api(bus, "STREAM.MSG.DELETE", {"seq": await first(bus) + 3})
    return "removed", position(messages[3])


async def removes_the_last(bus: Bus, messages: list[Copy]) -> tuple[str, int]:
    await api(bus, "STREAM.MSG.DELETE", {"seq": await first(bus) + len(messages) - 1})
    return "removed", position(messages[-2])


async def exchanges_two(bus: Bus, messages: list[Copy]) -> tuple[str, int]:
    await put_back(bus, [*messages[:3], messages[4], messages[3], *messages[5:]])
    return "removed", position(messages[3])


async def repeats_one(bus: Bus, messages: list[Copy]) -> tuple[str, int]:
    await put_back(bus, [*messages[:4], messages[3], *messages[4:]])
    return "inserted", position(messages[3])


async def puts_in_a_stranger(bus: Bus, messages: list[Copy]) -> tuple[str, int]:
    await bus.send(messages[0].subject, b'{"type":"block.completed"}', new_id())
    return "inserted", 0


async def puts_in_an_event_that_never_was(bus: Bus, messages: list[Copy]) -> tuple[str, int]:
    forged = own_headers(messages[-1]) | {"playhead-position": "1000000"}
    await bus.send(messages[-1].subject, messages[-1].body, new_id(), forged)
    return "inserted", 1_000_000


async def first(bus: Bus) -> int:
    """The sequence of the first message: writing the stream anew does not begin them anew."""
    return (await api(bus, "STREAM.INFO"))["state"]["first_seq"]


def position(message: Copy) -> int:
    return int(message.headers["playhead-position"])


Tampering = Callable[[Bus, list[Copy]], Awaitable[tuple[str, int]]]
ALL: list[Tampering] = [
    alters_a_body,
    alters_a_header,
    alters_the_subject,
    exchanges_two,
    repeats_one,
    removes_one,
    removes_the_last,
    puts_in_a_stranger,
    puts_in_an_event_that_never_was,
]


async def test_what_was_done_to_the_copy_is_named_and_nothing_else(
    written: list[Copy], log: EventLog, bus: Bus
) -> None:
    for tampering in ALL:
        await put_back(bus, written)
        assert (await verify_bus(log, bus)).intact
        expected = await tampering(bus, written)
        found = said(await verify_bus(log, bus))
        assert found[0] == expected, (tampering.__name__, found)
        assert len(found) <= 2, (tampering.__name__, found)
    # Who only looks leaves nothing behind.
    assert not (await api(bus, "CONSUMER.NAMES"))["consumers"]
