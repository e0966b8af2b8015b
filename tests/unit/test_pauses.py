"""What is asked of people, who may answer, which answer counts: the pure core, fact by fact."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead_contracts.canonical import canonical_document
from playhead_contracts.errors import Forbidden, Gone, Refused
from playhead_contracts.events import (
    Actor,
    BlockCompleted,
    BlockFailed,
    BlockSkipped,
    EventData,
    Json,
    PauseDelegated,
    PauseEscalated,
    PauseExpired,
    PauseNotified,
    PauseReminded,
    PauseRequested,
    PauseResolved,
    PauseVoted,
)
from playhead_contracts.ids import PauseId
from playhead_engine.documents import check
from playhead_engine.folding import evolve
from playhead_engine.pauses import (
    Answer,
    Answerer,
    asked_now,
    decide_answer,
    decide_delegation,
    decide_extension,
    decide_notified,
    is_asked,
    votes_missing,
)
from playhead_engine.pauses.answering import AnswerDoesNotFit, KeyUsedDifferently, PauseAlreadyAnswered, VoteStands
from playhead_engine.pauses.managing import CannotDelegate, NoMoreTime, NotTheOwner
from playhead_engine.pauses.refusals import PauseClosed, PauseExpiredAlready
from playhead_engine.pauses.rights import NotAnAssignee, NotNamed, SelfApproval
from playhead_engine.scheduling.advance import next_due
from playhead_engine.schemas import with_defaults
from playhead_engine.state import BlockStatus, ExecutionStatus, PauseState
from tests.unit.graphs import Case, World

YES, NO = {"approved": True}, {"approved": False}
FORM: dict[str, Json] = {
    "type": "object",
    "required": ["amount"],
    "properties": {"amount": {"type": "integer"}, "note": {"type": "string", "default": "-"}},
    "additionalProperties": False,
}


class Asked:
    """A workflow that asks, at the moment when it waits."""

    def __init__(self, **human: Any) -> None:
        blocks: dict[str, Json] = {
            "ask": {"type": "human", "message": "ok?", "next": "after", **human},
            "after": {"type": "pure"},
            "other": {"type": "pure"},
        }
        following = blocks["ask"]["next"]
        for name in ("after", "other"):
            if name not in str(following):
                del blocks[name]
        self.world = World(Case({"id": "w", "blocks": blocks}, frozenset()))
        self.world._step(None)  # pyright: ignore[reportPrivateUsage]

    @property
    def state(self) -> Any:
        return self.world.state

    @property
    def pause(self) -> PauseState:
        [pause] = self.state.pauses.values()
        return pause

    @property
    def at(self) -> datetime:
        return self.world.now

    def decide(self, values: dict[str, Json], who: str = "ann", **more: Any) -> list[Any]:
        return decide_answer(self.state, self.pause.pause_id, answer(values, who, **more), self.at)

    def tell(self, facts: list[Any], who: str = "ann") -> None:
        """Facts of somebody else, and what the executor makes of them."""
        for fact in facts:
            evolve(self.state, fact, self.state.version + 1, self.at, Actor(kind="person", name=who))
            self.world._write([fact], Actor(kind="person", name=who))  # pyright: ignore[reportPrivateUsage]
        self.look()

    def say(self, values: dict[str, Json], who: str = "ann", **more: Any) -> None:
        self.tell(self.decide(values, who, **more), who)

    def wait(self, **time: float) -> None:
        self.world.now += timedelta(**time)
        self.look()

    def look(self) -> None:
        self.world._step(None)  # pyright: ignore[reportPrivateUsage]

    def facts(self, kind: type[EventData]) -> list[Any]:
        return [event.data for event in self.world.stream if isinstance(event.data, kind)]

    @property
    def outputs(self) -> Any:
        [done] = [fact for fact in self.facts(BlockCompleted) if fact.path == "ask"]
        return done.outputs


def answer(values: dict[str, Json], who: str = "ann", **more: Any) -> Answer:
    known = {name: more.pop(name) for name in ("groups", "scopes") if name in more}
    answerer = Answerer(
        actor=Actor(kind="person", name=who),
        anonymous=more.pop("anonymous", False),
        **{name: frozenset(values) for name, values in known.items()},
    )
    return Answer(values=values, who=answerer, **more)


class TestWhatIsDecided:
    def test_each_action_takes_its_own_branch(self) -> None:
        for action, taken, skipped in (("pay", "after", "other"), ("send_back", "other", "after")):
            asked = Asked(
                actions={"pay": "Pay it", "send_back": {"denies": True}}, next={"pay": "after", "send_back": "other"}
            )
            asked.say({}, action=action)
            assert (asked.outputs["action"], asked.outputs["decided_by"]) == (action, "ann")
            assert [fact.path for fact in asked.facts(BlockSkipped)] == [skipped]
            assert taken in asked.state.blocks

    def test_branches_alone_are_actions_too(self) -> None:
        asked = Asked(next={"approve": "after", "reject": "other"})
        assert [(action.name, action.denies) for action in asked.pause.actions] == [
            ("approve", False),
            ("reject", True),
        ]
        asked.say(NO)
        assert (asked.outputs["action"], asked.outputs["answer"]) == ("reject", {})

    def test_an_action_that_is_none_is_refused_with_those_that_are(self) -> None:
        asked = Asked(actions=["approve", "reject"], next="after")
        with pytest.raises(AnswerDoesNotFit) as refused:
            asked.decide({}, action="approved")
        assert refused.value.errors[0].hint == "one of approve, reject"
        with pytest.raises(AnswerDoesNotFit, match="does not fit"):
            asked.decide({"x": 1})

    def test_plain_yes_and_no_are_actions(self) -> None:
        asked = Asked()
        asked.say({}, action="deny", comment="too much")
        assert asked.outputs["answer"] == NO
        assert (asked.outputs["action"], asked.outputs["comment"]) == ("deny", "too much")

    def test_an_answer_that_contradicts_its_action_is_refused(self) -> None:
        with pytest.raises(AnswerDoesNotFit):
            Asked().decide(YES, action="deny")

    def test_what_is_submitted_cannot_pass_for_anything_else(self) -> None:
        asked = Asked()
        asked.say({"decided_by": "the boss", "action": "approve", "approved": False, "status": "completed"})
        assert (asked.outputs["decided_by"], asked.outputs["action"]) == ("ann", "deny")
        assert asked.outputs["answer"]["decided_by"] == "the boss"


class TestForms:
    def test_defaults_are_filled_in_on_the_server(self) -> None:
        asked = Asked(form=FORM)
        asked.say({"amount": 3})
        assert asked.outputs["answer"] == {"amount": 3, "note": "-"}

    def test_formats_enums_and_nested_values_are_checked(self) -> None:
        form = {
            "type": "object",
            "properties": {
                "mail": {"type": "string", "format": "email"},
                "day": {"type": "string", "format": "date"},
                "size": {"enum": ["s", "m"]},
                "lines": {"type": "array", "items": {"type": "object", "required": ["n"]}},
            },
        }
        with pytest.raises(AnswerDoesNotFit) as refused:
            Asked(form=form).decide({"mail": "x", "day": "soon", "size": "xl", "lines": [{}]})
        assert {fault.pointer for fault in refused.value.errors} == {"#/mail", "#/day", "#/size", "#/lines/0"}

    def test_who_says_no_need_not_fill_in_the_form(self) -> None:
        asked = Asked(form=FORM, actions=["approve", "reject"])
        with pytest.raises(AnswerDoesNotFit):
            asked.decide({}, action="approve")
        asked.say({}, action="reject")
        assert asked.outputs["answer"] == {}

    def test_an_action_may_have_a_form_of_its_own(self) -> None:
        why = {"type": "object", "required": ["why"], "properties": {"why": {"type": "string", "minLength": 3}}}
        asked = Asked(form=FORM, actions={"approve": None, "reject": {"form": why}})
        with pytest.raises(AnswerDoesNotFit) as refused:
            asked.decide({}, action="reject")
        assert refused.value.errors[0].pointer in ("#", "#/why")
        asked.say({"why": "no budget"}, action="reject")
        assert asked.outputs["answer"] == {"why": "no budget"}

    def test_defaults_reach_into_objects_lists_and_references(self) -> None:
        schema: dict[str, Json] = {
            "properties": {"a": {"$ref": "#/$defs/a"}, "b": {"items": {"properties": {"c": {"default": 1}}}}},
            "$defs": {"a": {"default": 5}},
        }
        assert with_defaults(schema, {"b": [{}, {"c": 2}]}) == {"a": 5, "b": [{"c": 1}, {"c": 2}]}


class TestWhoMayAnswer:
    @pytest.mark.parametrize(
        ("assignee", "who"),
        [
            ("ann", {"who": "ann"}),
            ("user:ann", {"who": "ann"}),
            ("group:finance", {"groups": ["finance"]}),
            ("scope:refunds:approve", {"scopes": ["refunds:approve"]}),
        ],
    )
    def test_an_assignee_is_a_person_a_group_or_a_scope(self, assignee: str, who: dict[str, Any]) -> None:
        asked = Asked(assignees=[assignee])
        assert asked.decide(YES, **who)
        with pytest.raises(NotAnAssignee):
            asked.decide(YES, who="bob")

    def test_a_link_that_names_nobody_is_no_assignee(self) -> None:
        with pytest.raises(NotAnAssignee):
            Asked(assignees=["ann"]).decide(YES, who="ann", anonymous=True)
        assert Asked().decide(YES, who="link:1", anonymous=True)

    def test_assignees_come_from_the_execution_and_nobody_is_never_everybody(self) -> None:
        asked = Asked(assignees=["{{ [execution.id] }}"])
        assert asked.pause.assignees == (asked.state.execution_id,)
        for nobody in ("{{ input.boss }}", "{{ [] }}", "{{ '' }}"):
            asked = Asked(assignees=[nobody])
            [failed] = asked.facts(BlockFailed)
            assert not asked.state.pauses
            assert failed.error.type in ("assignee_invalid", "expression_failed")

    def test_who_started_it_may_be_barred(self) -> None:
        asked = Asked(no_self_approval=True)
        starter = asked.state.starter.name
        with pytest.raises(SelfApproval):
            asked.decide(YES, who=starter)
        with pytest.raises(NotNamed):
            asked.decide(YES, who="link:1", anonymous=True)
        with pytest.raises(CannotDelegate):
            decide_delegation(asked.state, asked.pause.pause_id, starter, answer({}, "bob").who, asked.at)
        assert asked.decide(YES, who="somebody else")

    def test_the_right_to_answer_is_passed_on_and_the_fact_kept(self) -> None:
        asked = Asked(assignees=["ann"])
        pause_id = asked.pause.pause_id
        [delegated] = decide_delegation(asked.state, pause_id, "bob", answer({}).who, asked.at, reason="away")
        asked.tell([delegated])
        assert asked_now(asked.pause) == ("bob",)
        with pytest.raises(NotAnAssignee, match=r"passed pause .* on to bob"):
            asked.decide(YES, who="ann")
        with pytest.raises(NotAnAssignee):
            decide_delegation(asked.state, pause_id, "eve", answer({}, "eve").who, asked.at)
        assert decide_delegation(asked.state, pause_id, "bob", answer({}).who, asked.at) == []
        asked.say(YES, who="bob")
        assert (asked.outputs["decided_by"], asked.outputs["on_behalf_of"]) == ("bob", "ann")

    def test_it_can_be_passed_back(self) -> None:
        asked = Asked(assignees=["ann"])
        for by, to in (("ann", "bob"), ("bob", "ann")):
            asked.tell(decide_delegation(asked.state, asked.pause.pause_id, to, answer({}, by).who, asked.at), who=by)
        assert asked_now(asked.pause) == ("ann",)
        assert not is_asked(asked.pause, answer({}, "bob").who)
        assert asked.decide(YES, who="ann")


class TestAgreement:
    def test_an_action_counts_when_enough_people_took_it(self) -> None:
        asked = Asked(quorum={"needed": 2})
        asked.say(YES, who="ann")
        assert asked.pause.status == "open"
        assert votes_missing(asked.pause, "approve") == 1
        asked.say(YES, who="bob", comment="fine")
        assert asked.outputs["answer"] == YES
        assert [vote["by"] for vote in asked.outputs["votes"]] == ["ann", "bob"]
        assert len(asked.facts(PauseVoted)) == 2
        assert len(asked.facts(PauseResolved)) == 1

    def test_a_person_has_one_vote_which_stands(self) -> None:
        asked = Asked(quorum={"needed": 2})
        asked.say(YES)
        assert asked.decide(YES) == []
        with pytest.raises(VoteStands):
            asked.decide(NO)
        with pytest.raises(CannotDelegate, match="voted"):
            decide_delegation(asked.state, asked.pause.pause_id, "bob", answer({}).who, asked.at)

    def test_one_no_is_enough_where_it_vetoes(self) -> None:
        asked = Asked(quorum={"needed": 3, "deny_vetoes": True})
        asked.say(YES, who="ann")
        asked.say(NO, who="bob")
        assert asked.outputs["action"] == "deny"
        asked = Asked(quorum={"needed": 2})
        asked.say(NO, who="ann")
        asked.say(YES, who="bob")
        assert asked.pause.status == "open"
        asked.say(NO, who="eve")
        assert asked.outputs["action"] == "deny"

    def test_who_is_not_known_has_no_vote(self) -> None:
        with pytest.raises(NotNamed):
            Asked(quorum={"needed": 2}).decide(YES, who="link:1", anonymous=True)

    @given(
        st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), max_size=20), st.integers(1, 4), st.booleans()
    )
    @settings(max_examples=150, deadline=None)
    def test_votes_in_any_order_decide_once_and_rightly(
        self, votes: list[tuple[str, bool]], needed: int, vetoes: bool
    ) -> None:
        asked = Asked(quorum={"needed": needed, "deny_vetoes": vetoes})
        said: dict[str, bool] = {}
        expected: str | None = None
        for who, approves in votes:
            try:
                asked.say({"approved": approves}, who=who)
            except Refused:
                assert who in said or expected is not None
                continue
            if who not in said and expected is None:
                said[who] = approves
                if list(said.values()).count(approves) >= needed or (vetoes and not approves):
                    expected = "approve" if approves else "deny"
        assert asked.pause.action == expected
        assert len(asked.facts(PauseResolved)) == (expected is not None)


class TestTime:
    def test_people_are_reminded_once_before_the_time_is_over(self) -> None:
        asked = Asked(expires_in="1h", remind_before="10m")
        assert next_due(asked.state) == asked.at + timedelta(minutes=50)
        asked.wait(minutes=50)
        asked.wait(minutes=1)
        assert len(asked.facts(PauseReminded)) == 1
        assert next_due(asked.state) == asked.pause.expires_at

    def test_without_an_answer_the_block_fails(self) -> None:
        asked = Asked(expires_in="1h")
        asked.wait(hours=1)
        [failed] = asked.facts(BlockFailed)
        assert failed.error.type == "pause_expired"
        assert asked.state.status is ExecutionStatus.FAILED

    def test_an_answer_can_be_given_beforehand(self) -> None:
        asked = Asked(expires_in="1h", on_expiry={"answer": {"amount": 0}}, form=FORM)
        asked.wait(hours=1)
        assert asked.outputs["answer"] == {"amount": 0}
        assert (asked.outputs["decided_by"], asked.outputs["expired"]) == (None, True)
        assert asked.facts(PauseExpired)[0].outcome == "answered"

    def test_an_action_can_be_taken_when_the_time_is_over(self) -> None:
        asked = Asked(expires_in="1h", on_expiry={"action": "reject"}, next={"approve": "after", "reject": "other"})
        asked.wait(hours=1)
        assert [fact.path for fact in asked.facts(BlockSkipped)] == ["after"]
        with pytest.raises(PauseExpiredAlready) as late:
            asked.decide(YES)
        assert late.value.facts["action"] == "reject"

    def test_it_is_escalated_step_by_step(self) -> None:
        chain = {"escalate": ["group:leads"], "expires_in": "1h", "on_expiry": {"action": "deny"}}
        asked = Asked(assignees=["ann"], expires_in="1h", on_expiry=chain)
        asked.wait(hours=1)
        [escalated] = asked.facts(PauseEscalated)
        assert escalated.assignees == ("group:leads",)
        assert asked.pause.status == "open"
        assert asked.decide(YES, who="lea", groups=["leads"])
        assert asked.decide(YES, who="ann")
        with pytest.raises(NotAnAssignee):
            asked.decide(YES, who="bob")
        asked.wait(hours=1)
        assert asked.outputs["action"] == "deny"

    def test_who_is_asked_may_answer_until_the_escalation_is_a_fact(self) -> None:
        asked = Asked(assignees=["ann"], expires_in="1h", on_expiry={"escalate": ["lea"]})
        late = asked.at + timedelta(hours=1, seconds=1)
        assert decide_answer(asked.state, asked.pause.pause_id, answer(YES), late)

    def test_where_everybody_may_answer_an_escalation_takes_that_from_nobody(self) -> None:
        asked = Asked(expires_in="1h", on_expiry={"escalate": ["lea"]})
        asked.wait(hours=1)
        assert asked.decide(YES, who="anybody")

    def test_an_answer_at_the_very_end_is_too_late(self) -> None:
        asked = Asked(expires_in="1h")
        with pytest.raises(PauseExpiredAlready):
            decide_answer(asked.state, asked.pause.pause_id, answer(YES), asked.at + timedelta(hours=1))
        assert decide_answer(asked.state, asked.pause.pause_id, answer(YES), asked.at + timedelta(minutes=59))

    def test_an_owner_can_give_more_time(self) -> None:
        asked = Asked(expires_in="1h", remind_before="10m")
        owner, end = asked.state.starter, asked.at + timedelta(hours=3)
        pause_id = asked.pause.pause_id
        with pytest.raises(NotTheOwner):
            decide_extension(asked.state, pause_id, end, Actor(kind="key", name="eve"), asked.at)
        assert decide_extension(asked.state, pause_id, end, Actor(kind="key", name="op"), asked.at, is_operator=True)
        asked.wait(minutes=55)
        extended = decide_extension(asked.state, pause_id, end, owner, asked.at)
        asked.tell(list(extended), owner.name)
        assert decide_extension(asked.state, pause_id, end, owner, asked.at) == []
        with pytest.raises(NoMoreTime):
            decide_extension(asked.state, pause_id, end - timedelta(hours=1), owner, asked.at)
        asked.wait(hours=1)
        assert asked.pause.status == "open"
        asked.wait(hours=2)
        assert asked.pause.status == "expired"

    def test_without_an_end_there_is_no_more_time(self) -> None:
        asked = Asked()
        with pytest.raises(NoMoreTime):
            decide_extension(
                asked.state, asked.pause.pause_id, asked.at + timedelta(days=1), asked.state.starter, asked.at
            )

    def test_the_end_can_be_a_moment(self) -> None:
        asked = Asked(expires_at="2026-01-02T00:00:00Z")
        assert asked.pause.expires_at is not None
        assert asked.pause.expires_at.isoformat() == "2026-01-02T00:00:00+00:00"
        asked = Asked(expires_at="{{ 'tomorrow' }}")
        assert asked.facts(BlockFailed)[0].error.type == "expiry_invalid"


class TestOnce:
    def test_the_same_answer_again_is_the_same(self) -> None:
        asked = Asked(form=FORM)
        asked.say({"amount": 3}, key="k")
        assert asked.decide({"amount": 3, "note": "-"}) == []
        with pytest.raises(PauseAlreadyAnswered) as refused:
            asked.decide({"amount": 4})
        assert refused.value.facts["decided_by"] == "ann"
        with pytest.raises(KeyUsedDifferently):
            asked.decide({"amount": 4}, key="k")

    def test_after_a_cancel_nothing_can_be_answered(self) -> None:
        asked = Asked()
        asked.state.stop = None
        from playhead_contracts.events import ExecutionCancelRequested

        asked.tell([ExecutionCancelRequested()])
        assert asked.pause.status == "closed"
        with pytest.raises(PauseClosed):
            asked.decide(YES)

    def test_who_was_told_is_noted_until_the_execution_has_ended(self) -> None:
        asked = Asked()
        notified = PauseNotified(
            pause_id=asked.pause.pause_id,
            path=asked.pause.path,
            delivery_id="d",
            webhook="desk",
            about="pause.requested",
            outcome="delivered",
        )
        assert decide_notified(asked.state, notified) == [notified]
        asked.tell([notified])
        assert asked.state.blocks["ask"].status is BlockStatus.PAUSED
        asked.say(YES)
        asked.world.run_to_the_end()
        assert decide_notified(asked.world.state, notified) == []

    @given(st.permutations(["ann", "bob", "timer", "cancel"]))
    @settings(deadline=None)
    def test_of_people_the_timer_and_a_cancel_one_wins_whatever_the_order(self, order: list[str]) -> None:
        from playhead_contracts.events import ExecutionCancelRequested

        asked = Asked(expires_in="1h")
        pause_id = asked.pause.pause_id
        won: list[str] = []
        for who in order:
            match who:
                case "timer":
                    asked.wait(hours=1)
                    won += ["timer"] * (asked.pause.status == "expired" and not won)
                case "cancel":
                    if not asked.state.is_ended:
                        asked.tell([ExecutionCancelRequested()])
                    won += ["cancel"] * (asked.pause.status == "closed" and not won)
                case _:
                    try:
                        facts = decide_answer(asked.state, pause_id, answer({"approved": who == "ann"}, who), asked.at)
                    except (Gone, Forbidden, PauseAlreadyAnswered):
                        assert won
                    else:
                        assert not won
                        asked.tell(facts, who)
                        won.append(who)
        assert len(won) == 1
        ends = [
            fact for kind in (PauseResolved, PauseExpired) for fact in asked.facts(kind) if fact.pause_id == pause_id
        ]
        assert len(ends) == 1


class TestDocuments:
    def test_order_survives_where_it_means_something(self) -> None:
        document: dict[str, Json] = {
            "id": "w",
            "blocks": {
                "gate": {"type": "condition", "cases": {"z": "true", "a": "true"}, "next": {"z": "ask", "else": "ask"}},
                "ask": {
                    "type": "human",
                    "message": "?",
                    "show": {"to": 1, "amount": 2},
                    "form": {"type": "object", "properties": {"b": {}, "a": {}}},
                    "next": {"reject": "x", "approve": "x"},
                },
                "x": {"type": "function", "code": "1"},
            },
        }
        canonical = canonical_document(document)
        assert canonical["blocks"]["gate"]["cases"] == [{"z": "true"}, {"a": "true"}]
        assert canonical["blocks"]["ask"]["show"] == [{"to": 1}, {"amount": 2}]
        assert canonical["blocks"]["ask"]["actions"] == ["reject", "approve"] or canonical["blocks"]["ask"][
            "actions"
        ] == [{"reject": None}, {"approve": None}]
        assert canonical["blocks"]["ask"]["form"]["x-order"] == ["b", "a"]
        assert canonical_document(canonical) == canonical
        checked = check(canonical)
        assert checked.document is not None, checked.faults
        assert check(document).faults == ()

    @pytest.mark.parametrize(
        ("human", "pointer"),
        [
            ({"actions": ["yes"], "next": {"no": "x"}}, "#/blocks/ask/next/no"),
            ({"remind_before": "1h"}, "#/blocks/ask/remind_before"),
            ({"on_expiry": {"action": "deny"}}, "#/blocks/ask/on_expiry"),
            ({"expires_in": "1h", "on_expiry": {"action": "reject"}}, "#/blocks/ask/on_expiry/action"),
            (
                {"expires_in": "1h", "form": FORM, "on_expiry": {"answer": {"amount": "x"}}},
                "#/blocks/ask/on_expiry/answer/amount",
            ),
            ({"assignees": ["team:x"]}, "#/blocks/ask/assignees/0"),
            ({"assignees": ["ann"], "quorum": {"needed": 2}}, "#/blocks/ask/quorum/needed"),
            ({"labels": {"amount": "Amount"}}, "#/blocks/ask/labels/amount"),
            ({"actions": {"go": {"form": {"type": "strin"}}}}, "#/blocks/ask/actions/go/form/type"),
            ({"expires_in": "1h", "expires_at": "2030-01-01T00:00:00Z"}, "#/blocks/ask"),
            ({"message": "{{ blocks.nobody.x }}"}, "#/blocks/ask/message"),
            ({"assignees": ["{{ blocks.nobody.x }}"]}, "#/blocks/ask/assignees/0"),
        ],
    )
    def test_what_is_wrong_with_a_pause_is_told_at_its_place(self, human: dict[str, Json], pointer: str) -> None:
        blocks: dict[str, Json] = {
            "ask": {"type": "human", "message": "?", **human},
            "x": {"type": "function", "code": "1"},
        }
        assert pointer in [fault.pointer for fault in check({"id": "w", "blocks": blocks}).faults]


def test_a_pause_id_is_never_used_again() -> None:
    asked = Asked()
    requested = asked.facts(PauseRequested)[0]
    assert requested.pause_id == asked.pause.pause_id
    with pytest.raises(Refused):
        decide_answer(asked.state, PauseId("another"), answer(YES), asked.at)
    assert PauseDelegated.type_name() == "pause.delegated"
