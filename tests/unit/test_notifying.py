"""Who is told about a pause, when it is tried again, and how messages are signed."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from playhead_contracts.events import Actor, Quorum
from playhead_contracts.ids import BlockPath, PauseId, WorkflowId
from playhead_engine.notifying import JITTER, TOLD, Attempt, Wish, judge, people_asked, who_is_told
from playhead_engine.state import Delegation, PauseState
from playhead_hitl.notifying.signing import signed_headers
from playhead_hitl.settings import Settings
from playhead_runtime.settings import BadSetting

NOW = datetime.now(UTC)
SCHEDULE = (timedelta(seconds=5), timedelta(minutes=5), timedelta(hours=2))
REFUNDS = WorkflowId("refunds")
ASKED = "pause.requested"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def wish(name: str, **changes: object) -> Wish:
    fields: dict[str, object] = {"events": TOLD, **changes}
    return Wish(name=name, **fields)  # pyright: ignore[reportArgumentType]


def pause(**changes: object) -> PauseState:
    fields: dict[str, object] = {"status": "open", "message": "Pay?", "digest": "sha256:0", **changes}
    return PauseState(pause_id=PauseId("p"), path=BlockPath("ask"), requested_at=NOW, **fields)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_a_success(status: int) -> None:
    assert judge(Attempt(status=status), 1, SCHEDULE, 0.0).outcome == "delivered"


@pytest.mark.parametrize("status", [199, 301, 302, 307, 400, 401, 404, 429, 500, 502, 503, 504])
def test_anything_else_is_tried_again_on_schedule(status: int) -> None:
    verdicts = [judge(Attempt(status=status), tries, SCHEDULE, 0.0) for tries in (1, 2, 3, 4)]
    assert [verdict.retry_in for verdict in verdicts] == [*SCHEDULE, None]
    assert [verdict.outcome for verdict in verdicts] == [None, None, None, "failed"]
    assert verdicts[0].error == f"it answered {status}"


def test_no_answer_is_tried_again_and_its_reason_is_kept() -> None:
    verdict = judge(Attempt(error="x had not answered after 15 s"), 1, SCHEDULE, 0.0)
    assert (verdict.outcome, verdict.error) == (None, "x had not answered after 15 s")


def test_gone_is_never_tried_again_and_disables() -> None:
    verdict = judge(Attempt(status=410), 1, SCHEDULE, 0.0)
    assert (verdict.outcome, verdict.disables, verdict.retry_in) == ("failed", True, None)


def test_what_cannot_change_is_not_tried_again() -> None:
    assert judge(Attempt(error="not public", is_final=True), 1, SCHEDULE, 0.0).outcome == "failed"


@pytest.mark.parametrize("status", [429, 503])
def test_who_asks_for_time_gets_it_but_never_less_than_the_schedule(status: int) -> None:
    long = judge(Attempt(status=status, retry_after=timedelta(hours=1)), 1, SCHEDULE, 0.0)
    short = judge(Attempt(status=status, retry_after=timedelta(seconds=1)), 1, SCHEDULE, 0.0)
    assert (long.retry_in, short.retry_in) == (timedelta(hours=1), SCHEDULE[0])


def test_retry_after_means_nothing_with_other_statuses() -> None:
    assert judge(Attempt(status=500, retry_after=timedelta(hours=1)), 1, SCHEDULE, 0.0).retry_in == SCHEDULE[0]


@given(chance=st.floats(0, 1), tries=st.integers(1, 3))
def test_jitter_adds_a_little_and_takes_nothing(chance: float, tries: int) -> None:
    retry_in = judge(Attempt(status=500), tries, SCHEDULE, chance).retry_in
    assert retry_in is not None
    assert SCHEDULE[tries - 1] <= retry_in <= SCHEDULE[tries - 1] * (1 + JITTER)


def test_all_that_want_an_event_are_told() -> None:
    wishes = [
        wish("all"),
        wish("ends", events=frozenset({"pause.resolved"})),
        wish("others", workflows=frozenset({"payouts"})),
        wish("refunds", workflows=frozenset({REFUNDS})),
        wish("late", since_position=7),
        wish("off", is_disabled=True),
    ]
    assert who_is_told(wishes, (), ASKED, REFUNDS, 7) == (["all", "refunds"], [])


def test_a_pause_that_names_webhooks_means_those_and_no_other() -> None:
    wishes = [
        wish("all"),
        wish("others", workflows=frozenset({"payouts"}), is_disabled=True),
        wish("ends", events=frozenset({"pause.resolved"})),
    ]
    told = who_is_told(wishes, ("others", "ghost", "ends", "others"), ASKED, REFUNDS, 7)
    assert told == (["others"], ["ghost"])


def test_links_are_for_people_and_one_for_nobody_where_anybody_may_answer() -> None:
    assert people_asked(pause()) == ()
    assert people_asked(pause(assignees=("ann", "user:bob", "group:finance", "ann"))) == ("ann", "bob")
    assert people_asked(pause(assignees=("group:finance", "scope:refunds:approve"))) is None


def test_there_is_no_link_for_who_may_not_answer() -> None:
    assert people_asked(pause(assignees=("ann", "bob"), barred=("ann",))) == ("bob",)
    assert people_asked(pause(barred=("ann",))) is None
    assert people_asked(pause(quorum=Quorum(needed=2))) is None


def test_who_passed_it_on_has_no_link_any_more() -> None:
    passed = Delegation(by=Actor(kind="person", name="ann"), to="cid", at=NOW)
    assert people_asked(pause(assignees=("ann", "bob"), delegations=(passed,))) == ("bob", "cid")


@given(body=st.dictionaries(st.text(), st.text()))
def test_the_official_library_verifies_our_signatures(body: dict[str, str]) -> None:
    sent = json.dumps(body).encode()
    other = "whsec_" + "QUJD" * 11
    headers = signed_headers([SECRET, other], "0198-a", int(datetime.now(UTC).timestamp()), sent)
    assert Webhook(SECRET).verify(sent, headers) == body
    assert Webhook(other).verify(sent, headers) == body
    assert len(headers["webhook-signature"].split(" ")) == 2


def test_a_known_signature_is_still_the_same() -> None:
    # The example of the specification's own libraries.
    headers = signed_headers([SECRET], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_schedule_is_a_setting_and_a_wrong_one_says_so() -> None:
    made = Settings(nats_url="", database_url="", webhook_retries=("5s", "5m"))
    assert made.webhook_schedule() == SCHEDULE[:2]
    assert len(Settings(nats_url="", database_url="").webhook_schedule()) == 9
    with pytest.raises(BadSetting, match="PLAYHEAD_WEBHOOK_RETRIES"):
        Settings(nats_url="", database_url="", webhook_retries=("5",))
