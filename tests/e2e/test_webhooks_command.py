"""`playhead webhooks` over a running `playhead dev`."""

import json
from typing import Any

from standardwebhooks import Webhook

from tests.e2e.conftest import Home
from tests.outside import OutsideServer
from tests.system import eventually

ASK = """
id: ask
blocks: {check: {type: human, message: "Go on?"}}
"""


async def test_a_webhook_is_made_told_looked_at_and_deleted(home: Home) -> None:
    await home.start_dev()
    (home.folder / "ask.yaml").write_text(ASK)
    async with OutsideServer() as server:
        server.respond("/hook", 503)
        server.respond("/hook")
        made = await home.run("webhooks", "create", "main", f"{server.url}/hook", "--event", "pause.requested")
        assert made.code == 0, made.err
        secret = made.out.strip()
        assert "main  " in (await home.run("webhooks", "show", "main")).out
        assert (await home.run("publish", "ask.yaml")).code == 0
        assert (await home.run("run", "ask", "--json")).json()["status"] == "paused"

        async def deliveries() -> list[dict[str, Any]]:
            return (await home.run("webhooks", "deliveries", "--json")).json()["items"]

        async def tried() -> dict[str, Any] | None:
            return next((each for each in await deliveries() if each["attempts"]), None)

        first = await eventually(tried)
        # What waits for its next try is tried now.
        assert (await home.run("webhooks", "resend", first["delivery_id"])).code == 0

        async def delivered() -> bool:
            return "delivered" in (await home.run("webhooks", "deliveries")).out

        await eventually(delivered)
        sent = server.requests[-1]
        assert sent.headers["webhook-id"] == first["delivery_id"]
        body = Webhook(secret).verify(sent.body, sent.headers)
        assert body == json.loads(sent.body)
        assert (await home.run("webhooks", "rotate", "main")).out.strip() != secret
        assert "is on its way" in (await home.run("webhooks", "test", "main")).out
        assert (await home.run("webhooks", "delete", "main")).code == 0
        gone = await home.run("webhooks", "show", "main")
        assert (gone.code, "there is no webhook named main" in gone.err) == (1, True)
        assert (await home.run("webhooks", "list")).out.strip() == "there are no webhooks"
