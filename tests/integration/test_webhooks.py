"""Webhooks about pauses, over real HTTP: signed, at least once, never too early, and with an account of everything."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from playhead_contracts.commands import PauseAnswered
from playhead_contracts.events import (
    Json,
    PauseAction,
    PauseEscalated,
    PauseExpired,
    PauseNotified,
    PauseReminded,
    PauseRequested,
)
from playhead_contracts.ids import BlockPath, ExecutionId, PauseId
from playhead_gateway.access import create_key
from playhead_hitl.notifying.sender import AT_ONCE, EACH
from playhead_runtime.bus import Bus
from playhead_runtime.ids import new_id
from playhead_runtime.links import Links
from playhead_runtime.service import raise_file_limit
from tests.conftest import Database
from tests.door import Pen, assert_problem, gateway, started
from tests.outside import OutsideServer, Received
from tests.processes import processes
from tests.system import System, eventually, executor, hitl, only_pause

raise_file_limit()

REFUND = """
id: refund
blocks:
  ask:
    type: human
    message: "Pay {{ input.amount }}?"
    show: {amount: "{{ input.amount }}"}
    form: {type: object, required: [approved], properties: {approved: {type: boolean}}}
    next: done
  done: {type: function, code: "{'done': True}"}
"""
NAMING = REFUND.replace("id: refund", "id: naming").replace(
    "    next: done", "    notify: [main, ghost]\n    next: done"
)
YES = {"approved": True}
SOON = ("50ms",) * 5
NEVER = ("50ms", "1h")
LINK_SECRET = "a secret of links that is long enough"


class Door:
    """The gateway's webhooks, for tests."""

    def __init__(self, http: httpx.AsyncClient):
        self.http = http

    async def create(self, url: str, name: str = "main", **more: Any) -> str:
        """Make a webhook, and give its secret."""
        response = await self.http.post("/v1/webhooks", json={"name": name, "url": url, **more})
        assert response.status_code == 201, response.text
        return response.json()["secret"]

    async def deliveries(self, **wanted: str) -> list[dict[str, Any]]:
        response = await self.http.get("/v1/webhooks/deliveries", params=wanted)
        assert response.status_code == 200, response.text
        return response.json()["items"]

    async def ended(self, number: int = 1, **wanted: str) -> list[dict[str, Any]]:
        """The deliveries, once there are so many and none waits."""

        async def look() -> list[dict[str, Any]] | None:
            found = await self.deliveries(**wanted)
            return found if len(found) == number and all(each["status"] != "pending" for each in found) else None

        return await eventually(look)

    async def resend(self, delivery_id: str) -> dict[str, Any]:
        response = await self.http.post(f"/v1/webhooks/deliveries/{delivery_id}/resend")
        assert response.status_code == 202, response.text
        return response.json()


@pytest.fixture
async def door(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[Door]:
    async with gateway(database.service_url, nats_url) as http:
        yield Door(http)


@pytest.fixture
async def works(database: Database, nats_url: str, client: System) -> AsyncGenerator[System]:
    """With an executor, and without hitl."""
    async with executor(database.service_url, nats_url):
        yield client


@pytest.fixture
async def server() -> AsyncGenerator[OutsideServer]:
    async with OutsideServer() as made:
        yield made


@pytest.fixture
def tell(database: Database, nats_url: str) -> Callable[..., Any]:
    """Hitl, with settings."""

    @asynccontextmanager
    async def run(**settings: object) -> AsyncGenerator[None]:
        async with hitl(database.service_url, nats_url, **{"webhook_retries": SOON, **settings}):
            yield

    return run


async def requests(server: OutsideServer, number: int, path: str = "/hook") -> list[Received]:
    """The first requests for a path, once there are so many."""

    async def look() -> list[Received] | None:
        found = [received for received in server.requests if received.path == path]
        return found if len(found) >= number else None

    return await eventually(look)


async def notified(system: System, execution_id: ExecutionId, number: int = 1) -> list[PauseNotified]:
    """The facts about telling webhooks, once there are so many."""

    async def look() -> list[PauseNotified] | None:
        found = [event.data for event in await system.events(execution_id) if isinstance(event.data, PauseNotified)]
        return found if len(found) >= number else None

    return await eventually(look)


async def ask(system: System, amount: Json = 10, document: str = REFUND) -> tuple[ExecutionId, PauseId]:
    """An execution that waits for people."""
    execution_id = await system.start(document, {"amount": amount})
    return execution_id, only_pause(await system.paused(execution_id)).pause_id


def said(received: Received) -> dict[str, Any]:
    return json.loads(received.body)


async def test_a_pause_and_its_answer_are_told_signed_and_the_log_says_so(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    server.respond("/hook")
    secret = await door.create(f"{server.url}/hook")
    await works.publish(REFUND)
    async with tell():
        execution_id, pause_id = await ask(works)
        [asked] = await requests(server, 1)
        body = Webhook(secret).verify(asked.body, asked.headers)
        assert asked.method == "POST"
        assert asked.headers["content-type"] == "application/json"
        events = await works.events(execution_id)
        requested = next(event for event in events if isinstance(event.data, PauseRequested))
        assert body["type"] == "pause.requested"
        assert datetime.fromisoformat(body["timestamp"]) == requested.recorded_at
        data = body["data"]
        assert {name: data[name] for name in ("pause_id", "execution_id", "workflow_id", "path", "status")} == {
            "pause_id": pause_id,
            "execution_id": execution_id,
            "workflow_id": "refund",
            "path": "ask",
            "status": "open",
        }
        assert (data["message"], data["show"], data["assignees"]) == ("Pay 10?", {"amount": 10}, [])
        assert data["form"]["required"] == ["approved"]
        assert data["digest"] == requested.data.digest if isinstance(requested.data, PauseRequested) else None
        assert data["links"] == {
            "execution": f"/v1/executions/{execution_id}",
            "resume": f"/v1/executions/{execution_id}/pauses/{pause_id}/resume",
        }
        # Before the execution ends: nothing is added to one that has ended.
        [told, *_] = await notified(works, execution_id)
        await works.answer(execution_id, pause_id, YES)
        _, resolved = await requests(server, 2)
        end = Webhook(secret).verify(resolved.body, resolved.headers)
        assert end["type"] == "pause.resolved"
        assert (end["data"]["resolution"], end["data"]["answer"]) == ("answered", YES)
        assert end["data"]["resolved_by"]["name"] == "ann"
        assert end["data"]["resolved_at"] == end["timestamp"]
        assert asked.headers["webhook-id"] != resolved.headers["webhook-id"]
        assert (told.webhook, told.about, told.outcome) == ("main", "pause.requested", "delivered")
        assert (told.delivery_id, told.status, told.attempts) == (asked.headers["webhook-id"], 200, 1)
        found = await door.ended(2)
        assert [each["event"] for each in found] == ["pause.resolved", "pause.requested"]
        assert [attempt["status"] for attempt in found[1]["attempts"]] == [200]


async def test_another_secret_or_body_does_not_verify(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    server.respond("/hook")
    secret = await door.create(f"{server.url}/hook")
    async with tell():
        await door.http.post("/v1/webhooks/main/test")
        [sent] = await requests(server, 1)
    assert Webhook(secret).verify(sent.body, sent.headers) == said(sent)
    assert said(sent)["type"] == "webhook.test"
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "QUJD" * 11).verify(sent.body, sent.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(sent.body + b" ", sent.headers)


async def test_whoever_is_told_can_answer_at_once(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    # Were a message ahead of its pause, one of the answers would be refused.
    server.respond("/hook")
    await door.create(f"{server.url}/hook", events=["pause.requested"])
    await works.publish(REFUND)
    async with tell():
        executions = [await works.start(REFUND, {"amount": n}) for n in range(20)]
        answered: set[str] = set()
        while len(answered) < len(executions):
            for received in await requests(server, len(answered) + 1):
                data = said(received)["data"]
                if data["pause_id"] not in answered:
                    answered.add(data["pause_id"])
                    reply = await works.answer(ExecutionId(data["execution_id"]), PauseId(data["pause_id"]), YES)
                    assert isinstance(reply, PauseAnswered)
        for execution_id in executions:
            assert (await works.ended(execution_id)).status == "completed"


async def test_a_receiver_that_asks_for_time_is_tried_again_after_it(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    server.respond("/hook", 503, headers={"retry-after": "1"})
    server.respond("/hook", 500)
    server.respond("/hook", 204)
    await door.create(f"{server.url}/hook")
    await works.publish(REFUND)
    async with tell():
        execution_id, _ = await ask(works)
        [delivery] = await door.ended()
        [told] = await notified(works, execution_id)
    assert (delivery["status"], delivery["last_status"], delivery["error"]) == ("delivered", 204, None)
    assert [attempt["status"] for attempt in delivery["attempts"]] == [503, 500, 204]
    first, second, third = (datetime.fromisoformat(attempt["at"]) for attempt in delivery["attempts"])
    assert (second - first).total_seconds() >= 1
    assert (third - second).total_seconds() < 1.5
    assert (told.outcome, told.attempts) == ("delivered", 3)
    assert len({received.headers["webhook-id"] for received in server.requests}) == 1


async def test_a_receiver_that_never_answers_well_is_given_up(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    server.respond("/hook", 500, body="no")
    await door.create(f"{server.url}/hook")
    await works.publish(REFUND)
    async with tell(webhook_retries=("10ms", "20ms")):
        execution_id, _ = await ask(works)
        [delivery] = await door.ended()
        [told] = await notified(works, execution_id)
    assert (delivery["status"], delivery["error"], len(delivery["attempts"])) == ("failed", "it answered 500", 3)
    assert (told.outcome, told.status, told.error, told.attempts) == ("failed", 500, "it answered 500", 3)


async def test_a_redirect_is_a_failure_and_is_not_followed(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    server.respond("/hook", 307, headers={"location": "/elsewhere"})
    server.respond("/elsewhere")
    await door.create(f"{server.url}/hook")
    await works.publish(REFUND)
    async with tell(webhook_retries=("10ms",)):
        await ask(works)
        [delivery] = await door.ended()
    assert (delivery["status"], delivery["error"]) == ("failed", "it answered 307")
    assert {received.path for received in server.requests} == {"/hook"}


async def test_a_receiver_that_is_gone_is_disabled_until_somebody_enables_it(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    server.respond("/hook", 410)
    server.respond("/hook", 200)
    await door.create(f"{server.url}/hook")
    await works.publish(REFUND)
    async with tell():
        await ask(works)
        [delivery] = await door.ended()
        assert (delivery["status"], len(delivery["attempts"])) == ("failed", 1)
        shown = (await door.http.get("/v1/webhooks/main")).json()
        assert shown["disabled_at"] is not None
        assert "410" in shown["disabled_reason"]
        await ask(works)
        assert_problem(await door.http.post("/v1/webhooks/main/test"), 409, "webhook-disabled")
        refused = await door.http.post(f"/v1/webhooks/deliveries/{delivery['delivery_id']}/resend")
        assert_problem(refused, 409, "webhook-disabled")
        assert (await door.http.post("/v1/webhooks/main/enable")).json()["disabled_at"] is None
        await door.resend(delivery["delivery_id"])
        [delivery] = await door.ended()
        assert delivery["status"] == "delivered"
    assert len(server.requests) == 2  # nothing came of the pause while it was disabled


async def test_what_is_not_public_is_refused_unless_the_operator_allows_it(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    server.respond("/hook")
    await door.create(f"{server.url}/hook")
    await door.create(f"{server.url.replace('127.0.0.1', 'localhost')}/hook", "named")
    await works.publish(REFUND)
    async with tell(webhook_allow=()):
        execution_id, _ = await ask(works)
        deliveries = await door.ended(2)
        told = await notified(works, execution_id, 2)
    assert server.requests == []
    for delivery in deliveries:
        assert delivery["status"] == "failed"
        assert len(delivery["attempts"]) == 1
        assert "PLAYHEAD_WEBHOOK_ALLOW" in delivery["error"]
    assert {each.outcome for each in told} == {"failed"}


async def test_what_was_given_up_can_be_sent_again_under_the_same_id(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    server.respond("/hook", 500)
    secret = await door.create(f"{server.url}/hook")
    await works.publish(REFUND)
    async with tell(webhook_retries=("10ms",)):
        execution_id, _ = await ask(works)
        [delivery] = await door.ended()
        server.respond("/hook", 200)
        await requests(server, 2)
        assert (await door.resend(delivery["delivery_id"]))["status"] == "pending"
        [delivery] = await door.ended(status="delivered")
        told = await notified(works, execution_id, 2)
    assert [each.outcome for each in told] == ["failed", "delivered"]
    assert {received.headers["webhook-id"] for received in server.requests} == {delivery["delivery_id"]}
    Webhook(secret).verify(server.requests[-1].body, server.requests[-1].headers)


async def test_an_answered_pause_is_asked_about_no_more(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    server.respond("/hook", 500)
    await door.create(f"{server.url}/hook", events=["pause.requested"])
    await works.publish(REFUND)
    async with tell(webhook_retries=NEVER):
        execution_id, pause_id = await ask(works)
        await requests(server, 2)
        assert isinstance(await works.answer(execution_id, pause_id, YES), PauseAnswered)
        [delivery] = await door.ended()
    assert delivery["status"] == "failed"
    assert delivery["error"] == "not tried again, for the pause was answered"
    assert len(delivery["attempts"]) == len(server.requests) == 2


async def test_a_pause_tells_those_that_it_names_and_says_which_are_not_there(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    for path in ("/hook", "/other", "/ghost"):
        server.respond(path)
    await door.create(f"{server.url}/hook", workflows=["others"])
    await door.create(f"{server.url}/other", "other")
    await works.publish(NAMING)
    async with tell():
        execution_id, _ = await ask(works, document=NAMING)
        told = await notified(works, execution_id, 2)
        assert {(each.webhook, each.outcome, each.error) for each in told} == {
            ("main", "delivered", None),
            ("ghost", "failed", "there is no webhook named ghost"),
        }
        [ghost] = await door.deliveries(webhook="ghost")
        assert_problem(
            await door.http.post(f"/v1/webhooks/deliveries/{ghost['delivery_id']}/resend"), 404, "webhook-unknown"
        )
        await door.create(f"{server.url}/ghost", "ghost")
        await door.resend(ghost["delivery_id"])
        await requests(server, 1, "/ghost")
    assert {received.path for received in server.requests} == {"/hook", "/ghost"}


async def test_every_event_about_a_pause_is_told_as_it_left_the_pause(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    server.respond("/hook")
    await door.create(f"{server.url}/hook")
    await works.publish(REFUND)
    execution_id = await works.start(REFUND, {"amount": 1}, send=False)
    pause_id, path = PauseId(new_id()), BlockPath("ask")
    soon, later = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) + timedelta(hours=2)
    asked = PauseRequested(
        pause_id=pause_id,
        path=path,
        message="Pay?",
        digest="sha256:0",
        show={"amount": 9, "to": "ann"},
        order=("to", "amount"),
        labels={"to": "Recipient"},
        actions=(PauseAction("pay", "Pay it"), PauseAction("stop", denies=True)),
        assignees=("ann",),
        expires_at=soon,
    )
    reminded = PauseReminded(pause_id=pause_id, path=path, expires_at=soon)
    escalated = PauseEscalated(pause_id=pause_id, path=path, assignees=("bob",), expires_at=later)
    expired = PauseExpired(pause_id=pause_id, path=path, expired_at=later, outcome="answered", action="stop", answer={})
    pen = Pen(works.log, works.bus)
    await pen.write(execution_id, started(), asked, reminded)
    await pen.write(execution_id, escalated, expired)
    async with tell(link_secret=LINK_SECRET, public_url="https://flow.example.com"):
        bodies = {each["type"]: each["data"] for each in map(said, await requests(server, 4))}
    first = bodies["pause.requested"]
    assert list(first["show"].items()) == [("to", "ann"), ("amount", 9)]
    assert (first["labels"], first["actions"][0]) == ({"to": "Recipient"}, {"name": "pay", "label": "Pay it"})
    assert {kind: (data["status"], data["assignees"]) for kind, data in bodies.items()} == {
        "pause.requested": ("open", ["ann"]),
        "pause.reminded": ("open", ["ann"]),
        "pause.escalated": ("open", ["ann", "bob"]),
        "pause.expired": ("expired", ["ann", "bob"]),
    }
    assert [page["for"] for page in bodies["pause.escalated"]["links"]["page"]] == ["ann", "bob"]
    assert datetime.fromisoformat(bodies["pause.escalated"]["expires_at"]) == later
    ended = bodies["pause.expired"]
    assert (ended["outcome"], ended["action"], "page" in ended["links"]) == ("answered", "stop", False)


async def test_what_is_too_large_is_left_out_and_named(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    server.respond("/hook")
    await door.create(f"{server.url}/hook")
    await works.publish(REFUND)
    async with tell():
        await ask(works, amount="9" * 70_000)
        [sent] = await requests(server, 1)
    data = said(sent)["data"]
    assert len(sent.body) <= 64 * 1024
    assert (data["omitted"], data["show"], len(data["message"])) == (["message", "show"], None, 2000)
    assert data["form"]["required"] == ["approved"]


async def test_a_notifier_that_begins_anew_tells_nothing_twice(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any], database: Database
) -> None:
    server.respond("/hook")
    await door.create(f"{server.url}/hook")
    await works.publish(NAMING)
    async with tell():
        first, _ = await ask(works, document=NAMING)
        await notified(works, first, 2)
    async with await psycopg.AsyncConnection.connect(database.service_url) as connection:
        await connection.execute("delete from notifying.checkpoints")
    async with tell():
        second, _ = await ask(works, document=NAMING)
        await notified(works, second, 2)
    assert len(server.requests) == 2
    assert len(await notified(works, first, 2)) == 2


async def test_names_that_cannot_be_stored_stop_nobody(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    server.respond("/hook")
    await door.create(f"{server.url}/hook", events=["pause.requested"])
    await works.publish(REFUND)
    execution_id = await works.start(REFUND, {"amount": 1}, send=False)
    pen = Pen(works.log, works.bus)
    odd = PauseRequested(
        pause_id=PauseId(new_id()), path=BlockPath("ask"), message="?", digest="sha256:0", notify=("gh\0st", "main")
    )
    odder = msgspec.structs.replace(odd, pause_id=PauseId(new_id()), notify=(), assignees=("a\0n", "bob"))
    await pen.write(execution_id, started(), odd)
    await pen.write(execution_id, odder)
    async with tell(link_secret=LINK_SECRET, public_url="https://flow.example.com"):
        await ask(works)
        told = await notified(works, execution_id, 3)
        await requests(server, 3)
    assert {(each.webhook, each.outcome) for each in told} == {("gh\ufffdst", "failed"), ("main", "delivered")}


async def test_webhooks_are_told_of_what_they_want_and_of_nothing_before_their_time(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    server.respond("/hook")
    await works.publish(REFUND)
    early = await ask(works)
    await door.create(f"{server.url}/hook", "ends", events=["pause.resolved"])
    await door.create(f"{server.url}/hook", "others", workflows=["payouts"])
    await door.create(f"{server.url}/hook", "asked", events=["pause.requested"], workflows=["refund"])
    async with tell():
        late = await ask(works)
        for execution_id, pause_id in (early, late):
            await works.answer(execution_id, pause_id, YES)
        found = await door.ended(3)
    assert {(each["webhook"], each["event"], each["pause_id"]) for each in found} == {
        ("asked", "pause.requested", late[1]),
        ("ends", "pause.resolved", early[1]),
        ("ends", "pause.resolved", late[1]),
    }


async def test_while_secrets_change_either_verifies(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    server.respond("/hook")
    old = await door.create(f"{server.url}/hook")
    rotated = (await door.http.post("/v1/webhooks/main/rotate")).json()
    assert rotated["secret"] != old
    assert datetime.fromisoformat(rotated["old_secret_until"]) > datetime.now(UTC)
    async with tell():
        await door.http.post("/v1/webhooks/main/test")
        [sent] = await requests(server, 1)
    for secret in (old, rotated["secret"]):
        assert Webhook(secret).verify(sent.body, sent.headers) == said(sent)


async def test_a_deleted_webhook_is_told_nothing_more_and_its_log_stays(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    server.respond("/hook", 500)
    await door.create(f"{server.url}/hook")
    await works.publish(REFUND)
    async with tell(webhook_retries=("2s",)):
        execution_id, _ = await ask(works)
        await requests(server, 1)
        assert (await door.http.delete("/v1/webhooks/main")).json() == {"name": "main", "deleted": True}
        [delivery] = await door.ended()
        [told] = await notified(works, execution_id)
    assert delivery["error"] == told.error == "the webhook main was deleted"
    assert len(server.requests) == 1
    assert_problem(await door.http.get("/v1/webhooks/main"), 404, "webhook-unknown")


async def test_who_is_asked_gets_a_link_to_the_page_and_no_link_is_stored(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any], database: Database
) -> None:
    server.respond("/hook")
    await door.create(f"{server.url}/hook", events=["pause.requested"])
    document = REFUND.replace("    next: done", "    assignees: [ann, 'user:bob', 'group:finance']\n    next: done")
    await works.publish(document)
    async with tell(link_secret=LINK_SECRET, public_url="https://flow.example.com/"):
        execution_id, pause_id = await ask(works, document=document)
        [sent] = await requests(server, 1)
    links = said(sent)["data"]["links"]
    assert links["execution"] == f"https://flow.example.com/v1/executions/{execution_id}"
    assert [page["for"] for page in links["page"]] == ["ann", "bob"]
    for page in links["page"]:
        base, _, token = page["url"].rpartition("/")
        assert base == "https://flow.example.com/a"
        link = Links(LINK_SECRET).read(token, datetime.now(UTC))
        assert (link.subject, link.execution_id, link.pause_id) == (page["for"], execution_id, pause_id)
    async with await psycopg.AsyncConnection.connect(database.service_url) as connection:
        rows = await (await connection.execute("select body from notifying.deliveries")).fetchall()
    assert "/a/" not in rows[0][0]


async def test_one_receiver_that_hangs_does_not_keep_others_waiting(
    door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    never = asyncio.Event()
    server.respond("/hangs", until=never)
    server.respond("/hook")
    await door.create(f"{server.url}/hangs", "hangs")
    await door.create(f"{server.url}/hook")
    async with tell(webhook_timeout_seconds=30):
        for _ in range(AT_ONCE + 10):
            await door.http.post("/v1/webhooks/hangs/test")
        await requests(server, EACH, "/hangs")
        await door.http.post("/v1/webhooks/main/test")
        await requests(server, 1)
        assert len(server.requests) <= 2 * EACH
        never.set()
        await door.ended(AT_ONCE + 10, webhook="hangs", limit="200")


async def test_an_answer_that_never_ends_counts_for_its_status(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    server.respond("/hook", 200, body=b"x" * 200, seconds_per_byte=0.1)
    await door.create(f"{server.url}/hook")
    async with tell(webhook_timeout_seconds=1):
        await door.http.post("/v1/webhooks/main/test")
        [delivery] = await door.ended()
    assert (delivery["status"], len(server.requests)) == ("delivered", 1)


async def test_a_killed_hitl_loses_nothing_and_its_successor_uses_the_same_id(
    works: System, door: Door, server: OutsideServer, database: Database, nats_url: str, tmp_path: Path
) -> None:
    answers = asyncio.Event()
    server.respond("/hook", until=answers)
    server.respond("/hook")
    await door.create(f"{server.url}/hook")
    await works.publish(REFUND)
    environ = {"nats_url": nats_url, "database_url": database.service_url, "webhook_timeout_seconds": "0.5"}
    async with processes(tmp_path, **environ) as services:
        first = await services.start("hitl")
        execution_id, _ = await ask(works)
        await requests(server, 1)
        await first.kill()
        await services.start("hitl")
        sent = await requests(server, 2)
        [told] = await notified(works, execution_id)
    answers.set()
    assert {received.headers["webhook-id"] for received in sent} == {told.delivery_id}
    assert (told.outcome, told.attempts) == ("delivered", 1)


async def test_two_hitl_share_the_deliveries_and_send_each_once(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    server.respond("/hook", delay=0.02)
    await door.create(f"{server.url}/hook", events=["pause.requested"])
    await works.publish(REFUND)
    async with tell(), tell():
        executions = [await works.start(REFUND, {"amount": n}) for n in range(40)]
        for execution_id in executions:
            [told] = await notified(works, execution_id)
            assert told.outcome == "delivered"
    sent = Counter(received.headers["webhook-id"] for received in server.requests)
    assert len(sent) == 40
    assert set(sent.values()) == {1}


async def test_tenants_neither_see_nor_tell_each_other(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any], database: Database, nats_url: str
) -> None:
    for path in ("/hook", "/foreign"):
        server.respond(path)
    await works.publish(REFUND)
    async with gateway(database.service_url, nats_url, open_tenant="other") as http, tell():
        other = Door(http)
        await other.create(f"{server.url}/foreign")
        await door.create(f"{server.url}/hook")
        execution_id, _ = await ask(works)
        await notified(works, execution_id)
        [mine] = await door.ended()
        assert await other.deliveries() == []
        refused = await other.http.post(f"/v1/webhooks/deliveries/{mine['delivery_id']}/resend")
        assert_problem(refused, 404, "delivery-unknown")
        assert (await other.http.delete("/v1/webhooks/main")).status_code == 200
        assert (await door.http.get("/v1/webhooks/main")).status_code == 200
    assert {received.path for received in server.requests} == {"/hook"}


async def test_webhooks_are_listed_without_their_secrets(door: Door) -> None:
    secret = await door.create("https://example.com/hook", "b", workflows=["refund"])
    await door.create("https://example.com/hook?k=1", "a")
    listed = await door.http.get("/v1/webhooks")
    assert [each["name"] for each in listed.json()["items"]] == ["a", "b"]
    assert secret.removeprefix("whsec_") not in listed.text + (await door.http.get("/v1/webhooks/b")).text
    again = await door.http.post("/v1/webhooks", json={"name": "b", "url": "https://example.com"})
    assert_problem(again, 409, "webhook-exists")


@pytest.mark.parametrize(
    ("order", "place"),
    [
        ({"name": "x", "url": "ftp://example.com"}, "#/url"),
        ({"name": "x", "url": "https://"}, "#/url"),
        ({"name": "x", "url": "https://ann:pw@example.com"}, "#/url"),
        ({"name": "x", "url": "https://example.com:99999"}, "#/url"),
        ({"name": "x", "url": "https://example.com/#part"}, "#/url"),
        ({"name": "x", "url": "https://exa mple.com/"}, "#/url"),
        ({"name": "deliveries", "url": "https://example.com"}, "#/name"),
        ({"name": "a b", "url": "https://example.com"}, "#/name"),
        ({"name": "x", "url": "https://example.com", "events": ["pause.requested", "block.started"]}, "#/events/1"),
        ({"name": "x", "url": "https://example.com", "secret": "mine"}, "#/secret"),
    ],
)
async def test_a_webhook_that_cannot_be_is_refused_at_its_place(door: Door, order: dict[str, Any], place: str) -> None:
    problem = assert_problem(await door.http.post("/v1/webhooks", json=order), 422, "invalid-request")
    assert [fault["pointer"] for fault in problem["errors"]] == [place]
    assert (await door.http.get("/v1/webhooks")).json()["items"] == []


async def test_the_log_of_deliveries_has_pages_and_filters(
    works: System, door: Door, server: OutsideServer, tell: Callable[..., Any]
) -> None:
    server.respond("/hook")
    await door.create(f"{server.url}/hook")
    async with tell():
        for _ in range(5):
            await door.http.post("/v1/webhooks/main/test")
        every = [each["delivery_id"] for each in await door.ended(5)]
    paged: list[str] = []
    wanted: dict[str, str] = {"limit": "2", "webhook": "main", "status": "delivered"}
    while True:
        page = (await door.http.get("/v1/webhooks/deliveries", params=wanted)).json()
        paged += [each["delivery_id"] for each in page["items"]]
        if page["next_cursor"] is None:
            break
        wanted["cursor"] = page["next_cursor"]
    assert paged == every
    assert await door.deliveries(status="failed") == await door.deliveries(webhook="nobody") == []
    assert_problem(await door.http.get("/v1/webhooks/deliveries", params={"pause": "x"}), 400, "bad-request")


async def test_only_admins_have_to_do_with_webhooks(database: Database, nats_url: str, bus: Bus) -> None:
    key = await create_key(database.service_url, "acme", "ann", ["pauses:answer", "executions:run"])
    headers = {"authorization": f"Bearer {key.key}"}
    async with gateway(database.service_url, nats_url, open_tenant=None, headers=headers) as http:
        for method, path in (("GET", ""), ("POST", ""), ("GET", "/deliveries"), ("POST", "/x/rotate")):
            assert_problem(await http.request(method, f"/v1/webhooks{path}"), 403, "scope-missing")
