"""Who did what: every operation stands in the log with its actor, and can be asked for."""

from typing import Any

import httpx
import msgspec
import pytest

from playhead_contracts.errors import Refused
from playhead_contracts.events import Actor, LogExported
from playhead_contracts.ids import EventId, TenantId
from playhead_eventlog import open_log
from playhead_eventlog.operations import record_operation
from playhead_gateway.access import create_key, list_keys, revoke_key
from playhead_runtime.bus import Bus
from playhead_runtime.clock import Clock
from playhead_runtime.ids import new_id
from tests.conftest import Database
from tests.door import ASKING, TWO_BLOCKS, gateway, publish
from tests.system import executor, hitl

ROOT = Actor(kind="person", name="root", channel="operator")


async def audited(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await client.get("/v1/audit", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_every_operation_is_there_with_who_did_it_newest_first(
    database: Database, nats_url: str, bus: Bus
) -> None:
    url = database.service_url
    ann = await create_key(url, "acme", "ann", ["admin"], by=ROOT)
    bob = await create_key(url, "acme", "bob", ["executions:run", "pauses:answer"], ["finance"], by=ROOT)
    rival = await create_key(url, "rival", "eve", ["admin"], by=ROOT)
    async with (
        executor(url, nats_url),
        hitl(url, nats_url),
        gateway(url, nats_url, open_tenant=None, headers=bearer(ann.key)) as client,
    ):
        for document in (TWO_BLOCKS, ASKING):
            await publish(client, document)
        paused = (await client.post("/v1/workflows/asking/executions", json={}, headers=bearer(bob.key))).json()
        execution_id, [pause] = paused["execution_id"], paused["pauses"]
        path = f"/v1/executions/{execution_id}"
        answered = await client.post(f"{path}/pauses/{pause['pause_id']}/resume", json={"input": {"approved": True}})
        assert answered.status_code == 200, answered.text
        rerun = await client.post(f"{path}/rerun", json={"from_block": "ask", "mode": "async"})
        again = rerun.json()["execution_id"]
        assert (await client.post(f"/v1/executions/{again}/cancel", json={})).status_code == 202
        hook = {"name": "desk", "url": "http://127.0.0.1:9/secret-path"}
        assert (await client.post("/v1/webhooks", json=hook)).status_code == 201
        assert (await client.post("/v1/webhooks", json=hook)).status_code == 409
        assert (await client.post("/v1/webhooks/desk/rotate")).status_code == 200
        assert (await client.delete("/v1/webhooks/desk")).status_code == 200
        assert (await client.delete("/v1/webhooks/desk")).status_code == 404
        for _ in range(2):
            assert await revoke_key(url, "acme", bob.key_id, by=ROOT)

        found = await audited(client)
        assert [(each["operation"], each["actor"]["name"]) for each in found] == [
            ("revoke_key", "root"),
            ("change_webhook", "ann"),
            ("change_webhook", "ann"),
            ("create_webhook", "ann"),
            ("cancel", "ann"),
            ("rerun", "ann"),
            ("answer", "ann"),
            ("start", "bob"),
            ("publish", "ann"),
            ("publish", "ann"),
            ("create_key", "root"),
            ("create_key", "root"),
        ]
        by_name = {each["operation"]: each for each in reversed(found)}
        assert by_name["start"]["execution_id"] == execution_id
        assert by_name["start"]["actor"] == {"kind": "key", "name": "bob", "channel": "http"}
        assert by_name["rerun"]["details"]["source"]["execution_id"] == execution_id
        assert by_name["answer"]["details"]["pause_id"] == pause["pause_id"]
        assert by_name["create_webhook"]["details"]["host"] == "127.0.0.1"
        assert [each["details"]["change"] for each in found if each["operation"] == "change_webhook"] == [
            "removed",
            "secret_rotated",
        ]
        # Keys, secrets and what people wrote are in none of it.
        text = msgspec.json.encode(found).decode()
        assert not any(secret in text for secret in (ann.key, bob.key, "secret-path", "approved"))

        assert [each["position"] for each in await audited(client, actor="bob")] == [by_name["start"]["position"]]
        assert await audited(client, actor="nobody") == []
        assert {each["operation"] for each in await audited(client, operation="rerun")} == {"rerun"}
        assert {each["operation"] for each in await audited(client, operation="start")} == {"start"}
        at = by_name["answer"]["at"]
        since, until = await audited(client, since=at), await audited(client, until=at)
        assert (len(since), len(until)) == (7, 5)

        paged: list[dict[str, Any]] = []
        query: dict[str, Any] = {"limit": 5}
        while True:
            page = (await client.get("/v1/audit", params=query)).json()
            assert len(page["items"]) <= 5
            paged += page["items"]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        assert paged == found

        theirs = await client.get("/v1/audit", headers=bearer(rival.key))
        assert [each["operation"] for each in theirs.json()["items"]] == ["create_key"]
        assert (await client.get("/v1/audit", headers=bearer(bob.key))).status_code in (401, 403)
        assert (await client.get("/v1/audit", params={"operation": "teleport"})).status_code == 400
        assert (await client.get("/v1/audit", params={"since": "yesterday"})).status_code == 400


async def test_an_operation_is_recorded_before_it_is_done_and_a_repeat_of_it_once(database: Database) -> None:
    url = database.service_url
    async with open_log(url) as log:
        event_id, at = EventId(new_id()), Clock().now()
        for tenant in ("acme", "globex"):
            await record_operation(
                log, TenantId(tenant), LogExported(format="ocel"), ROOT, event_id=EventId(new_id()), at=at
            )
        for _ in range(2):
            head = await record_operation(
                log, TenantId("acme"), LogExported(format="jsonl"), ROOT, event_id=event_id, at=at
            )
            assert head.version == 2
        with pytest.raises(Refused, match="is no tenant"):
            await record_operation(log, TenantId("no tenant."), LogExported(format="x"), ROOT, event_id=event_id, at=at)
    # What is refused leaves nothing behind, neither a key nor a record.
    with pytest.raises(Refused):
        await create_key(url, "no tenant.", "ann", ["admin"])
    assert await list_keys(url, "no tenant.") == []
