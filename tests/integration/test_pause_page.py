"""The page behind a link, over real HTTP: what it shows, what it takes, and what it never does."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest

from playhead_contracts.events import Actor
from playhead_contracts.ids import ExecutionId, PauseId
from playhead_eventlog import open_log
from playhead_gateway.access import create_key
from playhead_runtime.bus import Bus
from playhead_runtime.ids import new_id
from tests.answering import SECRET, Paused, People, path_of, people
from tests.conftest import Database
from tests.door import ASKING, Pen, assert_problem, gateway, publish, start_async
from tests.system import eventually, executor, hitl

PAY = """
id: pay-invoice
blocks:
  cardreader: {type: function, code: "{'card': '4111-not-for-you'}", next: gatekeeper}
  gatekeeper:
    type: human
    message: "Pay the invoice?"
    show: {supplier: "Bolt & Co <script>", amount: 1200.5}
    labels: {amount: "Amount (EUR)"}
    next: pay
  pay: {type: function, code: "{'paid': True}"}
"""

FORM = """
id: form
blocks:
  ask:
    type: human
    message: "How much?"
    form:
      type: object
      required: [amount, approved]
      additionalProperties: false
      properties:
        approved: {type: boolean}
        amount: {type: number, minimum: 1, title: Amount}
        reason: {type: string}
        lines: {type: array, items: {type: object, required: [sku], properties: {sku: {type: string}}}}
"""

CHOICES = """
id: choices
blocks:
  ask:
    type: human
    message: "What now?"
    actions:
      - accept: Take it
      - part: {label: Take a part, form: {type: object, required: [count], properties: {count: {type: integer}}}}
      - refuse: {label: Leave it, denies: true}
"""

TWO = """
id: two-people
blocks:
  ask: {type: human, message: "Both of you?", quorum: {needed: 2}}
"""

HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex",
}


@pytest.fixture
async def house(database: Database, bus: Bus, nats_url: str) -> AsyncGenerator[People]:
    async with people(database, bus, nats_url) as made:
        yield made


def assert_page(response: httpx.Response, status: int, *words: str) -> str:
    """The text of a page, which has this status, these words, and all the headers of a page."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("text/html")
    assert HEADERS.items() <= response.headers.items()
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "form-action 'self'; frame-ancestors 'none'; base-uri 'none'" in policy
    assert "unsafe" not in policy
    for word in words:
        assert word in response.text
    assert "<script" not in response.text
    return response.text


def claims_of(url: str) -> dict[str, Any]:
    """What the token of a link says."""
    return jwt.decode(  # pyright: ignore[reportUnknownMemberType]
        url.rpartition("/")[2], SECRET, algorithms=["HS256"], audience="pause"
    )


def signed(claims: dict[str, Any], secret: str | None = SECRET, algorithm: str = "HS256") -> str:
    """A token that says this."""
    return jwt.encode(claims, secret or "", algorithm=algorithm)  # pyright: ignore[reportUnknownMemberType]


async def kinds(house: People, paused: Paused) -> list[str]:
    return [event.envelope.type for event in await house.system.events(paused.execution_id)]


async def test_a_page_shows_what_is_asked_and_nothing_else_of_the_execution(house: People) -> None:
    paused = await house.asked(PAY)
    path = path_of(paused, "ann")
    page = assert_page(await house.client.get(path), 200, "Pay the invoice?", "Bolt &amp; Co &lt;script&gt;")
    assert_page(await house.press(path, "approve", comment="As agreed <b>"), 303)
    after = assert_page(await house.client.get(path), 200, "You approved this", "As agreed &lt;b&gt;", "Amount (EUR)")
    paused_ids = (paused.execution_id, paused.pause_id)
    for text in (page, after):
        for secret in ("4111", "cardreader", "gatekeeper", "pay-invoice", *paused_ids, "acme", "paid"):
            assert secret not in text


async def test_opening_a_link_decides_nothing_however_often(house: People) -> None:
    paused = await house.asked(PAY)
    path = path_of(paused)
    before = await house.system.log.last_position()
    calls = [house.client.get(path) for _ in range(50)] + [house.client.head(path) for _ in range(50)]
    for response in await asyncio.gather(*calls):
        assert response.status_code == 200
    for query in ("?action=approve", "?action=approve&digest=x"):
        assert_page(await house.client.get(path + query), 200, "Pay the invoice?")
    assert (await house.client.head(path)).content == b""
    assert await house.system.log.last_position() == before
    assert (await house.pause(paused)).status == "open"


async def test_an_answer_is_that_of_the_person_the_link_is_for(house: People) -> None:
    paused = await house.asked(PAY)
    path = path_of(paused, "ann")
    response = await house.press(path, "deny", comment=" Not yet\r\nplease ")
    assert (response.status_code, response.headers["location"]) == (303, path.removeprefix("/a/"))
    pause = await house.pause(paused)
    assert (pause.status, pause.action, pause.answer) == ("answered", "deny", {"approved": False})
    assert (pause.resolved_by, pause.comment) == (Actor("person", "ann", "link"), "Not yet\nplease")
    assert_page(await house.client.get(path), 200, "You denied this", "Not yet\nplease")
    assert_page(await house.client.get(path_of(paused, "ben")), 200, "ann denied this")


async def test_whoever_holds_a_link_without_a_name_answers_as_that_link(house: People) -> None:
    paused = await house.asked(PAY)
    path = path_of(paused, link_id="0123456789abcdef")
    assert (await house.press(path, "approve")).status_code == 303
    assert (await house.pause(paused)).resolved_by == Actor("person", "link:01234567", "link")
    assert_page(await house.client.get(path), 200, "You approved this")
    assert_page(await house.client.get(path_of(paused)), 200, "Somebody with a link approved this")


async def test_forged_links_lead_nowhere(house: People) -> None:
    paused = await house.asked(PAY)
    path = path_of(paused, "ann")
    head, payload, signature = path.removeprefix("/a/").split(".")
    claims = claims_of(path)
    forged = [
        path_of(paused, secret="another secret, just as long as ours"),
        path_of(paused, execution_id=ExecutionId(new_id())),
        path_of(paused, execution_id=ExecutionId("no id at all")),
        path_of(paused, pause_id=PauseId(new_id())),
        path_of(paused, tenant="other"),
        f"/a/{head}.{payload}.{('B' if signature[0] == 'A' else 'A') + signature[1:]}",
        f"/a/{head}.{payload[:-2]}.{signature}",
        f"/a/{head}.{payload}.",
        "/a/" + signed(claims, None, "none"),
        "/a/" + signed(claims | {"aud": "something else"}),
        "/a/" + signed({"jti": "x", "exp": 9999999999, "aud": "pause"}),
        "/a/" + signed(claims, algorithm="HS512"),
        "/a/x",
        "/a/%00%ff",
        "/a/" + "x" * 5000,
    ]
    for address in forged:
        assert_page(await house.client.get(address), 404, "There is nothing behind this link")
        assert_page(await house.client.post(address, data={"action": "approve"}), 404)
    assert (await house.pause(paused)).status == "open"


async def test_an_expired_link_says_that_it_is_over_and_nothing_else(house: People) -> None:
    paused = await house.asked(PAY)
    expired = path_of(paused, "ann", lasts=timedelta(seconds=-1))
    before = assert_page(await house.client.get(expired), 410, "This link is over")
    assert_page(await house.client.post(expired, data={"action": "approve"}), 410)
    assert (await house.press(path_of(paused, "ann"), "approve")).status_code == 303
    assert assert_page(await house.client.get(expired), 410) == before


async def test_the_same_button_pressed_twice_is_one_answer(house: People) -> None:
    paused = await house.asked(PAY)
    path = path_of(paused, "ann")
    data = {"digest": await house.digest(path), "action": "approve", "comment": "yes"}
    responses = await asyncio.gather(*(house.client.post(path, data=data) for _ in range(5)))
    assert [response.status_code for response in responses] == [303] * 5
    assert (await kinds(house, paused)).count("pause.resolved") == 1
    assert (await house.client.post(path, data=data)).status_code == 303


async def test_of_two_people_one_wins_and_the_other_is_told_who(house: People) -> None:
    for _ in range(5):
        paused = await house.asked(PAY)
        ann, ben = path_of(paused, "ann"), path_of(paused, "ben")
        yes, no = await asyncio.gather(house.press(ann, "approve"), house.press(ben, "deny"))
        assert {yes.status_code, no.status_code} == {303, 409}
        lost, winner = (no, "ann approved this") if yes.status_code == 303 else (yes, "ben denied this")
        assert_page(lost, 409, "Your decision was not recorded", "that decision stands", winner)
        assert (await kinds(house, paused)).count("pause.resolved") == 1


async def test_mistakes_are_shown_where_they_are_and_everything_typed_is_kept(house: People) -> None:
    paused = await house.asked(FORM)
    path = path_of(paused, "ann")
    typed = {"f__amount": "0.5", "f__reason": "be<cause", "f__lines#": "0", "f__lines__0__sku": "", "comment": "so&so"}
    text = assert_page(await house.press(path, "approve", **typed), 422, "some things are not right", "Mistake:")
    for expected in (
        '<a href="#c-f-amount">Amount: must be at least 1</a>',
        '<a href="#c-f-lines-0-sku">Lines, Item 1, Sku: fill this in</a>',
        'value="0.5"',
        "be&lt;cause",
        "so&amp;so",
        'aria-invalid="true"',
    ):
        assert expected in text
    assert "Approved" not in text, "the buttons say it"
    assert (await house.pause(paused)).status == "open"
    typed |= {"f__amount": "12.50", "f__lines__0__sku": "A-1"}
    assert (await house.press(path, "approve", **typed)).status_code == 303
    answer = {"approved": True, "amount": 12.5, "reason": "be<cause", "lines": [{"sku": "A-1"}]}
    assert (await house.pause(paused)).answer == answer
    assert_page(await house.client.get(path), 200, "12.5", "be&lt;cause", "A-1")


async def test_who_says_no_need_not_fill_in_the_form(house: People) -> None:
    paused = await house.asked(FORM)
    assert (await house.press(path_of(paused), "deny", f__amount="rubbish", f__reason="Too dear")).status_code == 303
    assert (await house.pause(paused)).answer == {"approved": False, "reason": "Too dear"}


async def test_rows_come_and_go_without_deciding(house: People) -> None:
    paused = await house.asked(FORM)
    path = path_of(paused)
    digest = await house.digest(path)
    added = await house.client.post(path, data={"digest": digest, "add": "f/lines", "f/amount": "7", "comment": "hm"})
    text = assert_page(added, 200, 'name="f/lines/0/sku"', 'value="7"', "hm")
    assert text.count("autofocus") == 1
    removed = await house.client.post(path, data={"digest": digest, "remove": "f/lines/0", "f/lines#": "0"})
    assert 'name="f/lines/0/sku"' not in assert_page(removed, 200)
    entered = await house.client.post(path, data={"digest": digest, "look": "1", "f/amount": "7"})
    assert_page(entered, 200, "Nothing is decided yet", 'value="7"')
    for nonsense in ({"add": "f/amount"}, {"add": "digest"}, {"remove": "digest"}, {"action": "launch"}, {}):
        assert_page(await house.client.post(path, data={"digest": digest, **nonsense}), 200)
    assert (await house.pause(paused)).status == "open"


async def test_fields_of_a_form_cannot_take_the_place_of_ours(house: People) -> None:
    paused = await house.asked(FORM)
    path = path_of(paused, "ann")
    extra = {"tenant": "other", "actor": "boss", "answer": "{}", "f__approved": "false", "f__other": "x", "groups": "g"}
    assert (await house.press(path, "approve", f__amount="1", **extra)).status_code == 303
    pause = await house.pause(paused)
    assert pause.answer == {"approved": True, "amount": 1}
    assert pause.resolved_by == Actor("person", "ann", "link")


async def test_nobody_answers_what_they_did_not_see(house: People) -> None:
    paused = await house.asked(FORM)
    path = path_of(paused)
    for digest in ({}, {"digest": ""}, {"digest": "sha256:0"}):
        response = await house.client.post(path, data={"action": "approve", "f/amount": "7", **digest})
        assert_page(response, 409, "What is asked has changed", 'value="7"', 'name="action"')
    assert (await house.pause(paused)).status == "open"


async def test_an_action_with_a_form_of_its_own_asks_for_that_alone(house: People) -> None:
    paused = await house.asked(CHOICES)
    path = path_of(paused, "ann")
    assert_page(await house.client.get(path), 200, "Take it", "Take a part", "Leave it")
    wrong = await house.press(path, "part", **{"a.part__count": "some"})
    assert_page(wrong, 422, '<a href="#c-a_2e_part-count">Count: is not a whole number</a>')
    assert (await house.press(path, "part", **{"a.part__count": "3"})).status_code == 303
    pause = await house.pause(paused)
    assert (pause.action, pause.answer) == ("part", {"count": 3})
    assert_page(await house.client.get(path), 200, "You chose “Take a part”", "Count")


async def test_a_vote_says_how_many_are_missing(house: People) -> None:
    paused = await house.asked(TWO)
    ann, ben = path_of(paused, "ann"), path_of(paused, "ben")
    assert (await house.press(ann, "approve")).status_code == 303
    assert_page(await house.client.get(ann), 200, "Your vote is recorded", "1 more person must say the same")
    other = await house.client.post(ann, data={"action": "deny", "digest": "sha256:0"})
    assert_page(other, 409, "You had voted before")
    assert_page(await house.client.get(ben), 200, "ann</strong> voted “Approve”", "2 people must say the same")
    nobody = path_of(paused)
    assert 'name="action"' not in assert_page(await house.client.get(nobody), 200, "must be known by name")
    assert_page(await house.client.post(nobody, data={"action": "approve"}), 403)
    assert (await house.press(ben, "approve")).status_code == 303
    assert_page(await house.client.get(ann), 200, "ben approved this")


async def test_a_link_for_somebody_who_is_not_asked_can_be_read_only(house: People) -> None:
    document = 'id: for-ann\nblocks: {ask: {type: human, message: "Ann?", assignees: [ann, "group:chiefs"]}}'
    paused = await house.asked(document)
    ben = path_of(paused, "ben")
    assert 'name="action"' not in assert_page(await house.client.get(ben), 200, "Ann?", "for others to answer")
    response = await house.client.post(ben, data={"action": "approve"})
    assert_page(response, 403, "Your decision was not recorded")
    assert (await house.press(path_of(paused, "ben", groups=["chiefs"]), "approve")).status_code == 303


async def test_what_is_no_longer_asked_is_told_so(house: People) -> None:
    paused = await house.asked(PAY)
    path = path_of(paused, "ann")
    digest = await house.digest(path)
    await house.client.post(f"/v1/executions/{paused.execution_id}/cancel", json={"reason": "not for you"})
    await house.system.ended(paused.execution_id)
    text = assert_page(await house.client.get(path), 200, "This was closed without an answer")
    assert "not for you" not in text
    late = await house.client.post(path, data={"action": "approve", "digest": digest})
    assert_page(late, 410, "Your decision was not recorded", "it is no longer needed")


async def test_an_answer_that_comes_too_late_is_told_so(house: People) -> None:
    document = 'id: soon\nblocks: {ask: {type: human, message: "Quick?", expires_in: 300ms}}'
    paused = await house.asked(document)
    path = path_of(paused, "ann")
    await house.system.ended(paused.execution_id)
    assert_page(await house.client.get(path), 200, "The time for an answer is over")
    late = await house.client.post(path, data={"action": "approve", "digest": "x"})
    assert_page(late, 410, "It came too late")


async def test_what_is_no_form_is_refused_with_a_page(house: People) -> None:
    paused = await house.asked(PAY)
    path = path_of(paused)
    assert_page(await house.client.post(path, json={"action": "approve"}), 415)
    assert_page(await house.client.post(path, files={"action": b"approve"}), 415)
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert_page(await house.client.post(path, content=b"action=%FF", headers=form), 400)
    assert_page(await house.client.post(path, content=b"a=" + b"x" * 2**20, headers=form), 413)
    assert (await house.client.put(path)).status_code == 405
    assert (await house.pause(paused)).status == "open"


async def test_links_are_made_for_open_pauses(house: People) -> None:
    paused = await house.asked(PAY)
    here = f"/v1/pauses/{paused.pause_id}/links"

    async def made() -> httpx.Response | None:
        response = await house.client.post(here, json={"for": "user:ann", "groups": ["chiefs"], "expires_in": "2d"})
        return None if response.status_code == 503 else response

    response = await eventually(made)
    assert response.status_code == 201, response.text
    link: dict[str, Any] = response.json()
    assert link["for"] == "ann"
    claims = claims_of(link["url"])
    assert (claims["sub"], claims["groups"], claims["pause"]) == ("ann", ["chiefs"], paused.pause_id)
    assert_page(await house.client.get(link["url"]), 200, "Pay the invoice?", "<strong>ann</strong>")
    anybody = (await house.client.post(here, json={})).json()
    assert anybody["for"] is None
    assert_page(await house.client.get(anybody["url"]), 200, "For whoever has this link")
    for wrong in ({"for": "group:chiefs"}, {"for": " "}, {"expires_in": "soon"}, {"expires_in": "0s"}, {"to": "ann"}):
        assert_problem(await house.client.post(here, json=wrong), 422, "invalid-request")
    assert_problem(await house.client.post(f"/v1/pauses/{new_id()}/links", json={}), 404, "pause-unknown")
    assert (await house.press(anybody["url"], "approve")).status_code == 303
    assert_problem(await house.client.post(here, json={}), 410, "pause-closed")


async def test_the_page_is_no_part_of_the_api(house: People) -> None:
    paths = (await house.client.get("/schema/openapi.json")).json()["paths"]
    assert "/v1/pauses/{pause_id}/links" in paths
    assert not [path for path in paths if path.startswith("/a/")]


async def test_links_need_no_key_and_work_from_everywhere(house: People) -> None:
    paused = await house.asked(PAY)
    path = path_of(paused)
    elsewhere = {"host": "playhead.example.com", "origin": "null", "sec-fetch-site": "cross-site"}
    assert (await house.client.get("/v1/pauses", headers=elsewhere)).status_code == 403
    assert_page(await house.client.get(path, headers=elsewhere), 200)
    data = {"action": "approve", "digest": await house.digest(path)}
    assert_page(await house.client.post(path, data=data, headers=elsewhere), 303)


async def test_only_operators_make_links_and_only_their_own(database: Database, bus: Bus, nats_url: str) -> None:
    async with people(database, bus, nats_url) as house:
        paused = await house.asked(PAY)
        public = {"public_url": "https://ask.example.com/playhead/", "link_secret": SECRET, "open_tenant": None}
        async with gateway(database.service_url, nats_url, headers=None, **public) as client:
            here = f"/v1/pauses/{paused.pause_id}/links"

            async def made(tenant: str, scope: str) -> httpx.Response:
                key = await create_key(database.service_url, tenant, "somebody", [scope])
                return await client.post(here, json={}, headers={"x-api-key": key.key})

            async def known() -> httpx.Response | None:
                response = await made("acme", "admin")
                return None if response.status_code == 503 else response

            issued = await eventually(known)
            assert issued.json()["url"].startswith("https://ask.example.com/playhead/a/ey")
            assert_problem(await made("acme", "pauses:answer"), 403, "scope-missing")
            assert_problem(await made("other", "admin"), 404, "pause-unknown")
            assert_problem(await client.post(here, json={}), 401, "unauthorized")


async def test_without_a_secret_there_are_no_links(database: Database, bus: Bus, nats_url: str) -> None:
    async with people(database, bus, nats_url, link_secret=None) as house:
        paused = await house.asked(PAY)
        refused = await house.client.post(f"/v1/pauses/{paused.pause_id}/links", json={})
        assert "PLAYHEAD_LINK_SECRET" in assert_problem(refused, 409, "links-are-off")["detail"]
        assert_page(await house.client.get(path_of(paused)), 404)


async def test_what_cannot_be_recorded_now_is_kept_to_be_sent_again(
    database: Database, bus: Bus, nats_url: str
) -> None:
    url = database.service_url
    async with open_log(url) as log, gateway(url, nats_url, headers=None, link_secret=SECRET) as client:
        await publish(client, ASKING)
        execution_id = await start_async(client, "asking")
        paused = Paused(execution_id, await Pen(log, bus).pause(execution_id))
        path, data = path_of(paused), {"action": "approve", "digest": "sha256:0", "comment": "well thought"}
        response = await client.post(path, data=data)
        assert_page(response, 503, "could not be recorded just now", "well thought", 'name="action"')
        assert response.headers["retry-after"] == "1"
        async with executor(url, nats_url), hitl(url, nats_url):

            async def taken() -> bool:
                return (await client.post(path, data=data)).status_code == 303

            await eventually(taken)
