"""A link from the command line, opened by somebody who has no key."""

import signal

import httpx

from tests.e2e.conftest import Home

ASK = """
id: ask
blocks:
  ask: {type: human, message: "Ship it?", next: shipped}
  shipped: {type: function, code: "'yes'"}
"""


async def test_a_link_opens_the_pause_also_after_a_restart(home: Home) -> None:
    await home.start_dev()
    (home.folder / "ask.yaml").write_text(ASK)
    assert (await home.run("publish", "ask.yaml")).code == 0
    ran = (await home.run("run", "ask", "--json")).json()
    pause_id = ran["pauses"][0]["pause_id"]
    made = await home.run("link", pause_id, "--for", "ann", "--expires-in", "2d")
    assert made.code == 0, made.err
    url = made.out.strip()
    assert url.startswith(f"{home.url}/a/ey")
    assert "answers as ann" in made.err
    as_json = (await home.run("link", pause_id, "--group", "finance", "--json")).json()
    assert as_json["for"] is None

    assert await home.signal_dev(signal.SIGINT) == 0
    await home.start_dev()
    kept = home.folder / ".playhead" / "servers.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    async with httpx.AsyncClient(trust_env=False) as person:
        page = (await person.get(url)).text
        assert "Ship it?" in page
        digest = page.partition('name="digest" value="')[2].partition('"')[0]
        answered = await person.post(url, data={"action": "approve", "digest": digest}, follow_redirects=True)
        assert "You approved this" in answered.text

    again = await home.run("link", pause_id)
    assert again.code == 1
    assert "closed" in again.err + again.out
    unknown = await home.run("link", "01a1fbf6-ea1d-75b3-bd0f-89f26aa50780")
    assert unknown.code == 1
    assert "Traceback" not in unknown.err
