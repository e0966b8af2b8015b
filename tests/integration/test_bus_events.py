"""CloudEvents over NATS: binary and structured, recorded once, refused with every fault."""

from collections.abc import AsyncGenerator

import httpx
import msgspec
import pytest

from playhead_cli.dead_letters import find_letters, redrive
from playhead_contracts import subjects
from playhead_contracts.requests import Receipt, Refused
from playhead_runtime.bus import Bus
from tests.commanding import Commander, commander, letters, messages_in
from tests.conftest import Database
from tests.door import TENANT, gateway
from tests.system import eventually

EVENT = {"specversion": "1.0", "id": "p-1", "source": "/bank", "type": "payment.settled", "data": {"order": "o-1"}}
BINARY = {"ce-specversion": "1.0", "ce-id": "p-1", "ce-source": "/bank", "ce-type": "payment.settled"}
JSON = {"ce-datacontenttype": "application/json"}
SUBJECT = subjects.inbox(TENANT, "payment.settled")
Door = tuple[Bus, httpx.AsyncClient, Commander]


@pytest.fixture
async def door(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[Door]:
    async with gateway(database.service_url, nats_url) as http, commander(bus, TENANT) as client:
        yield bus, http, client


async def hand_in(bus: Bus, client: Commander, data: bytes, headers: dict[str, str], subject: str = SUBJECT) -> object:
    """What is answered to one event."""
    await bus.publish(subject, data, headers | {"Playhead-Reply-To": client.inbox})
    return await client.heard()


async def test_an_event_is_one_event_in_either_mode_and_by_either_door(door: Door) -> None:
    bus, http, client = door
    structured = {"content-type": "application/cloudevents+json"}
    first = await hand_in(bus, client, b'{"order":"o-1"}', BINARY | JSON)
    again = await hand_in(bus, client, b'{"order":"o-1"}', BINARY | JSON)
    assert isinstance(first, Receipt)
    assert isinstance(again, Receipt)
    assert (first.command_id, first.status, first.repeated) == ("p-1", 202, False)
    assert (again.status, again.repeated, again.body) == (200, True, first.body)
    other = EVENT | {"id": "p-2"}
    taken = await hand_in(bus, client, msgspec.json.encode(other), structured)
    assert isinstance(taken, Receipt)
    answer = await http.post("/v1/events", json=other, headers=structured)
    assert (answer.status_code, answer.json()) == (200, taken.body)
    assert await messages_in(bus, subjects.INBOX_STREAM) == 0


async def test_what_is_no_event_or_another_one_is_told_and_kept(door: Door) -> None:
    bus, _, client = door
    assert isinstance(await hand_in(bus, client, b'{"order":"o-1"}', BINARY | JSON), Receipt)
    another = await hand_in(bus, client, b'{"order":"o-2"}', BINARY | JSON)
    assert isinstance(another, Refused)
    assert another.problem["type"] == "urn:playhead:problem:event-is-another"
    elsewhere = await hand_in(bus, client, b"{}", BINARY | JSON, subjects.inbox(TENANT, "payment.failed"))
    assert isinstance(elsewhere, Refused)
    assert elsewhere.problem["errors"][0]["pointer"] == "#/type"
    bare = await hand_in(bus, client, b"\xff", {})
    assert isinstance(bare, Refused)
    forged = await hand_in(bus, client, b"{}", BINARY | JSON | {"Authorization": "Bearer ph_forged"})
    assert isinstance(forged, Refused)
    assert forged.status == 401
    kept = await letters(bus, 4)
    assert {subject for subject, _, _ in kept} == {subjects.dead_letter(TENANT, "event")}
    assert not any("ph_forged" in value for _, headers, _ in kept for value in headers.values())
    assert await messages_in(bus, subjects.INBOX_STREAM) == 0


async def test_an_event_that_was_refused_can_be_sent_again_from_the_dead_letters(
    database: Database, nats_url: str, bus: Bus
) -> None:
    async with gateway(database.service_url, nats_url, bus_keys_required=True):
        await bus.send(SUBJECT, b'{"order":"o-1"}', "m-1", BINARY | JSON)
        await letters(bus, 1)
    async with gateway(database.service_url, nats_url) as http:
        [letter] = await find_letters(bus, [])
        await redrive(bus, letter)

        async def recorded() -> bool:
            return await messages_in(bus, subjects.INBOX_STREAM) == 0

        await eventually(recorded)
        answer = await http.post("/v1/events", json=EVENT, headers={"content-type": "application/cloudevents+json"})
        assert answer.status_code == 200
