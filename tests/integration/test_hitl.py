"""Answers to pauses: one wins, and everybody else is told what became of theirs."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec

from playhead_contracts.commands import PauseAnswered, Rejected
from playhead_contracts.events import Actor, PauseResolved
from playhead_contracts.ids import ExecutionId, PauseId
from playhead_runtime.ids import new_id
from tests.conftest import Database
from tests.system import ANN, System, block, hitl, only_pause

ASKING = """
id: asking
blocks:
  ask:
    type: human
    message: "Pay {{ input.amount }}?"
    form:
      type: object
      required: [approved]
      properties: {approved: {type: boolean}, comment: {type: string, maxLength: 10}}
      additionalProperties: false
    next: after
  after: {type: function, code: "inputs['yes']", inputs: {yes: "{{ blocks.ask.answer.approved }}"}}
"""

EXPIRING = """
id: expiring
blocks:
  ask: {type: human, message: "?", expires_in: 1s, next: after, on_error: late}
  after: {type: function, code: "'answered'"}
  late: {type: function, code: "inputs['why']", inputs: {why: "{{ blocks.ask.error.type }}"}}
"""

TWO = """
id: two
blocks:
  ann: {type: human, message: "ann?", assignees: [ann]}
  bob: {type: human, message: "bob?"}
"""


def problem(reply: PauseAnswered | Rejected) -> str:
    assert isinstance(reply, Rejected)
    return msgspec.json.decode(reply.problem)["type"].rsplit(":", 1)[1]


async def ask(system: System) -> tuple[ExecutionId, PauseId]:
    execution_id = await system.start(ASKING, {"amount": 1})
    return execution_id, only_pause(await system.paused(execution_id)).pause_id


async def test_of_two_answers_at_the_same_moment_exactly_one_wins_fifty_times(
    system: System, database: Database
) -> None:
    await system.publish(ASKING)
    async with hitl(database.service_url, system.nats_url):
        for _ in range(50):
            execution_id, pause_id = await ask(system)
            replies = await asyncio.gather(
                system.answer(execution_id, pause_id, {"approved": True}),
                system.answer(execution_id, pause_id, {"approved": False}, Actor(kind="person", name="bob")),
            )
            [won] = [reply for reply in replies if isinstance(reply, PauseAnswered)]
            [lost] = [reply for reply in replies if isinstance(reply, Rejected)]
            assert not won.repeated
            assert (lost.status, problem(lost)) == (409, "pause-already-answered")
            resolved = [e for e in await system.events(execution_id) if isinstance(e.data, PauseResolved)]
            assert len(resolved) == 1
            state = await system.ended(execution_id)
            assert block(state, "after").outputs == {"result": won.answered_by.name == "ann"}


async def test_the_very_same_answer_at_the_same_moment_stands_for_both(system: System) -> None:
    await system.publish(ASKING)
    for _ in range(20):
        execution_id, pause_id = await ask(system)
        replies = await asyncio.gather(*(system.answer(execution_id, pause_id, {"approved": True}) for _ in range(5)))
        assert all(isinstance(reply, PauseAnswered) for reply in replies)
        assert sorted(reply.repeated for reply in replies if isinstance(reply, PauseAnswered)) == [False] + 4 * [True]
        resolved = [e for e in await system.events(execution_id) if isinstance(e.data, PauseResolved)]
        assert len(resolved) == 1


async def test_an_answer_that_does_not_fit_the_form_is_refused_at_its_place_and_nothing_is_recorded(
    system: System,
) -> None:
    await system.publish(ASKING)
    execution_id, pause_id = await ask(system)
    before = len(await system.events(execution_id))
    reply = await system.answer(execution_id, pause_id, {"approved": "yes", "comment": "far too long a comment"})
    assert (reply.status if isinstance(reply, Rejected) else 200) == 422
    assert isinstance(reply, Rejected)
    pointers = {fault["pointer"] for fault in msgspec.json.decode(reply.problem)["errors"]}
    assert pointers == {"#/approved", "#/comment"}
    assert len(await system.events(execution_id)) == before


async def test_a_pause_that_is_unknown_or_of_another_execution_is_not_there(system: System) -> None:
    await system.publish(ASKING)
    execution_id, _ = await ask(system)
    _, other = await ask(system)
    for unknown in (PauseId(new_id()), other):
        reply = await system.answer(execution_id, unknown, {"approved": True})
        assert (problem(reply), reply.status if isinstance(reply, Rejected) else 0) == ("pause-unknown", 404)
    reply = await system.answer(ExecutionId(new_id()), other, {"approved": True})
    assert problem(reply) == "pause-unknown"


async def test_a_pause_that_nobody_answers_in_time_expires_and_its_error_edge_is_taken(system: System) -> None:
    await system.publish(EXPIRING)
    execution_id = await system.start(EXPIRING)
    pause = only_pause(await system.paused(execution_id))
    state = await system.ended(execution_id)
    assert pause.expires_at is not None
    assert state.status == "completed"
    assert state.pauses[pause.pause_id].status == "expired"
    assert block(state, "late").outputs == {"result": "pause_expired"}
    assert datetime.now(UTC) - pause.expires_at < timedelta(seconds=5)
    reply = await system.answer(execution_id, pause.pause_id, {})
    assert (problem(reply), reply.status if isinstance(reply, Rejected) else 0) == ("pause-expired", 410)


async def test_only_an_assignee_may_answer_and_one_answer_of_two_leaves_the_other_open(system: System) -> None:
    await system.publish(TWO)
    execution_id = await system.start(TWO)
    state = await system.paused(execution_id)
    anns = next(pause for pause in state.open_pauses() if pause.path == "ann")
    bobs = next(pause for pause in state.open_pauses() if pause.path == "bob")
    reply = await system.answer(execution_id, anns.pause_id, {}, Actor(kind="person", name="mallory"))
    assert problem(reply) == "not-an-assignee"
    assert isinstance(await system.answer(execution_id, anns.pause_id, {"ok": 1}, ANN), PauseAnswered)
    state = await system.when(execution_id, lambda state: block(state, "ann").status == "completed")
    state = await system.paused(execution_id)
    assert [pause.pause_id for pause in state.open_pauses()] == [bobs.pause_id]
    await system.answer(execution_id, bobs.pause_id, {"ok": 2})
    assert (await system.ended(execution_id)).status == "completed"


async def test_an_answer_after_the_execution_was_cancelled_is_gone(system: System) -> None:
    await system.publish(ASKING)
    execution_id, pause_id = await ask(system)
    await system.cancel(execution_id)
    await system.ended(execution_id)
    reply = await system.answer(execution_id, pause_id, {"approved": True})
    assert (problem(reply), reply.status if isinstance(reply, Rejected) else 0) == ("pause-closed", 410)


async def test_an_answer_to_another_proposal_than_the_one_asked_is_refused(system: System) -> None:
    await system.publish(ASKING)
    execution_id, pause_id = await ask(system)
    reply = await system.answer(execution_id, pause_id, {"approved": True}, digest="sha256:of-something-else")
    assert (problem(reply), reply.status if isinstance(reply, Rejected) else 0) == ("proposal-changed", 409)
    digest = only_pause(await system.state(execution_id)).digest
    assert isinstance(await system.answer(execution_id, pause_id, {"approved": True}, digest=digest), PauseAnswered)


async def test_a_pause_that_cannot_be_opened_fails_its_block_and_is_never_passed(system: System) -> None:
    document = """
id: broken-gate
blocks:
  ask: {type: human, message: "Pay {{ input.not.there }}?", next: after}
  after: {type: function, code: "'passed'"}
"""
    await system.publish(document)
    state = await system.ended(await system.start(document, {}))
    assert state.status == "failed"
    assert block(state, "ask").status == "failed"
    assert block(state, "after").status == "skipped"


async def test_an_answer_as_fast_as_the_pause_is_never_told_that_the_pause_is_not_there(system: System) -> None:
    """Whoever hears of a pause on the live bus can answer at once: it is committed before anybody is told."""
    await system.publish(ASKING)
    for _ in range(30):
        execution_id = await system.start(ASKING, {"amount": 1}, send=False)
        async with await system.live(execution_id) as frames:
            await system.send_run(execution_id)
            async for frame in frames:
                if b'"pause.requested"' in frame.data:
                    break
        pause_id = only_pause(await system.state(execution_id)).pause_id
        assert isinstance(await system.answer(execution_id, pause_id, {"approved": True}), PauseAnswered)
        assert (await system.ended(execution_id)).status == "completed"
