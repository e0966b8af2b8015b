"""What is derived from the log, read back: the rows of the read models, and the copy on the bus."""

import base64
from contextlib import suppress
from typing import Any

import msgspec
import psycopg
from psycopg.sql import SQL, Identifier

from playhead_contracts.subjects import EVENTS_STREAM
from playhead_eventlog import EventLog
from playhead_projector.extensions import every_projection
from playhead_projector.store import open_store
from playhead_runtime.bus import Bus
from tests.conftest import Database
from tests.system import eventually

NAMES = [projection.name for projection in every_projection()]


class Copy(msgspec.Struct, frozen=True):
    """One message of the stream."""

    subject: str
    headers: dict[str, str]
    body: bytes


async def caught_up(log: EventLog, database: Database, names: list[str] = NAMES) -> int:
    """Wait until the read models hold the whole log; its last position."""
    last = await log.last_position()
    async with open_store(database.service_url) as store:

        async def is_there() -> bool:
            with suppress(psycopg.errors.UndefinedTable):
                checkpoints = await store.checkpoints()
                return set(names) <= checkpoints.keys() and all(checkpoints[name].position >= last for name in names)
            return False

        await eventually(is_there)
    return last


async def rows(database: Database, schema: str = "read") -> dict[str, list[str]]:
    """Every row of every read model in a schema, as text: byte for byte."""
    found: dict[str, list[str]] = {}
    async with await psycopg.AsyncConnection.connect(database.service_url) as connection:
        for name in NAMES:
            query = SQL("select t::text from {} t order by 1").format(Identifier(schema, name))
            found[name] = [row[0] for row in await (await connection.execute(query)).fetchall()]
    return found


async def api(bus: Bus, name: str, body: object = None) -> dict[str, Any]:
    data = b"" if body is None else msgspec.json.encode(body)
    answer: dict[str, Any] = msgspec.json.decode(await bus.api(f"{name}.{EVENTS_STREAM}", data))
    return answer


async def stream_state(bus: Bus) -> dict[str, Any]:
    return (await api(bus, "STREAM.INFO")).get("state", {})


async def copies(bus: Bus) -> list[Copy]:
    """Every message of the stream, in order."""
    state = await stream_state(bus)
    found: list[Copy] = []
    for sequence in range(state["first_seq"], state["last_seq"] + 1):
        message = (await api(bus, "STREAM.MSG.GET", {"seq": sequence}))["message"]
        lines = base64.b64decode(message["hdrs"]).decode().split("\r\n")[1:]
        headers = dict(line.split(": ", 1) for line in lines if line)
        found.append(Copy(message["subject"], headers, base64.b64decode(message.get("data", ""))))
    return found


async def assert_is_the_log(bus: Bus, log: EventLog) -> None:
    raws = await log.read_log(0, 1_000_000)
    found = await copies(bus)
    assert [copy.headers["playhead-position"] for copy in found] == [str(raw.position) for raw in raws]
    assert [copy.body for copy in found] == [raw.data for raw in raws]
