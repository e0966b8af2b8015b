"""Pauses on real servers and real timers: many at once, several people, time that runs out and time that is given."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import DelegatePause, ExtendPause, PauseAnswered, PauseChanged, Rejected
from playhead_contracts.events import (
    Actor,
    ExecutionPaused,
    PauseEscalated,
    PauseExpired,
    PauseReminded,
    PauseRequested,
    PauseResolved,
    PauseVoted,
)
from playhead_contracts.ids import ExecutionId, PauseId
from playhead_engine.state import PauseState
from playhead_runtime.ids import new_id
from tests.system import ANN, TENANT, System, block, eventually, only_pause

BOB, EVE = Actor(kind="person", name="bob"), Actor(kind="person", name="eve")

ASKING = """
id: asking
blocks:
  ask: {type: human, message: "?", next: after}
  after: {type: function, code: "inputs['yes']", inputs: {yes: "{{ blocks.ask.answer.approved }}"}}
"""

BRANCHES = """
id: branches
blocks:
  fan:
    type: parallel
    collection: "[1, 2, 3]"
    blocks:
      twice:
        type: loop
        for: 2
        blocks:
          ask: {type: human, message: "{{ parallel.item }}.{{ loop.index }}?"}
        result: "{{ blocks.ask.answer.n }}"
    result: "{{ blocks.twice.results }}"
output: "{{ blocks.fan.results }}"
"""

ACTIONS = """
id: actions
blocks:
  ask:
    type: human
    message: "?"
    actions: {send_back: Send it back, approve: Approve it, reject: Reject it}
    quorum: {needed: 2, deny_vetoes: true}
    no_self_approval: true
    next: {approve: pay, reject: refuse, send_back: again}
  pay: {type: function, code: "'paid'"}
  refuse: {type: function, code: "'refused'"}
  again: {type: function, code: "'again'"}
"""

LATE = """
id: late
blocks:
  ask:
    type: human
    message: "?"
    assignees: [ann]
    expires_in: 1500ms
    remind_before: 700ms
    on_expiry: {escalate: ["group:leads"], expires_in: 1s, on_expiry: {action: deny}}
    next: after
  after: {type: function, code: "inputs['action']", inputs: {action: "{{ blocks.ask.action }}"}}
"""

SLOW = """
id: slow
blocks:
  ask: {type: human, message: "?", expires_in: 2s}
"""


def problem(reply: object) -> str:
    assert isinstance(reply, Rejected), reply
    return msgspec.json.decode(reply.problem)["type"].rsplit(":", 1)[1]


async def request(system: System, subject: str, command: ExtendPause | DelegatePause) -> PauseChanged | Rejected:
    reply = await system.bus.request(subject, msgspec.json.encode(command), 10.0)
    kind = Rejected if "problem" in msgspec.json.decode(reply) else PauseChanged
    return msgspec.json.decode(reply, type=kind)


async def test_hundreds_of_answers_in_the_very_moment_of_their_pause_all_count(system: System) -> None:
    await system.publish(ASKING)
    await system.answer(ExecutionId(new_id()), PauseId(new_id()), {})  # hitl is there

    async def answered_at_once(number: int) -> None:
        execution_id = await system.start(ASKING, send=False)
        async with await system.live(execution_id) as frames:
            await system.send_run(execution_id)
            async for frame in frames:
                if b'"pause.requested"' in frame.data:
                    break
        [fact] = [e.data for e in await system.events(execution_id) if isinstance(e.data, PauseRequested)]
        reply = await system.answer(execution_id, fact.pause_id, {"approved": number % 2 == 0})
        assert isinstance(reply, PauseAnswered)
        state = await system.ended(execution_id)
        assert block(state, "after").outputs == {"result": number % 2 == 0}

    for start in range(0, 200, 20):
        await asyncio.gather(*(answered_at_once(number) for number in range(start, start + 20)))


async def test_hundreds_of_forged_ids_open_nothing_and_leave_no_trace(system: System) -> None:
    await system.publish(ASKING)
    execution_id = await system.start(ASKING)
    pause = only_pause(await system.paused(execution_id))
    before = await system.events(execution_id)
    head, tail = pause.pause_id[:-1], pause.pause_id[-1]
    near = [head + digit for digit in "0123456789abcdef" if digit != tail]
    forged = [PauseId(each) for each in (*near, *(new_id() for _ in range(300)))]
    replies = await asyncio.gather(*(system.answer(execution_id, each, {"approved": True}) for each in forged))
    assert {problem(reply) for reply in replies} == {"pause-unknown"}
    assert [e.version for e in await system.events(execution_id)] == [e.version for e in before]


async def test_every_pause_of_nested_branches_has_its_own_address_and_no_old_one_answers_a_new_one(
    system: System,
) -> None:
    await system.publish(BRANCHES)
    execution_id = await system.start(BRANCHES)
    seen: dict[PauseId, PauseState] = {}

    async def three_open() -> list[PauseState] | None:
        state = await system.state(execution_id)
        found = [pause for pause in state.open_pauses() if pause.pause_id not in seen]
        return found if len(found) == 3 else None

    for turn in range(2):
        opened = await eventually(three_open)
        for old in seen.values():
            reply = await system.answer(execution_id, old.pause_id, {"n": 99})
            assert problem(reply) == "pause-already-answered"
        seen |= {pause.pause_id: pause for pause in opened}
        for pause in reversed(opened):
            branch = int(pause.path[4])
            assert pause.path == f"fan[{branch}]/twice[{turn}]/ask"
            assert isinstance(
                await system.answer(execution_id, pause.pause_id, {"n": 10 * branch + turn}), PauseAnswered
            )
    state = await system.ended(execution_id)
    assert state.output == [[0, 1], [10, 11], [20, 21]]
    assert len(seen) == 6


async def test_two_of_several_people_decide_and_who_started_it_is_none_of_them(system: System) -> None:
    await system.publish(ACTIONS)
    execution_id = await system.start(ACTIONS)
    pause = only_pause(await system.paused(execution_id))
    assert [action.name for action in pause.actions] == ["send_back", "approve", "reject"]
    assert problem(await system.answer(execution_id, pause.pause_id, {}, ANN, action="approve")) == "self-approval"
    first = await system.answer(execution_id, pause.pause_id, {}, BOB, action="approve", comment="fine")
    assert isinstance(first, PauseAnswered)
    assert (first.missing, first.repeated) == (1, False)
    again = await system.answer(execution_id, pause.pause_id, {}, BOB, action="approve")
    assert isinstance(again, PauseAnswered)
    assert (again.missing, again.repeated) == (1, True)
    assert problem(await system.answer(execution_id, pause.pause_id, {}, BOB, action="reject")) == "vote-stands"
    second = await system.answer(execution_id, pause.pause_id, {}, EVE, action="approve")
    assert isinstance(second, PauseAnswered)
    assert second.missing == 0
    state = await system.ended(execution_id)
    assert block(state, "pay").status == "completed"
    assert {block(state, path).status for path in ("refuse", "again")} == {"skipped"}
    facts = [event.data for event in await system.events(execution_id)]
    assert [type(fact) for fact in facts if isinstance(fact, PauseVoted | PauseResolved)] == [
        PauseVoted,
        PauseVoted,
        PauseResolved,
    ]


async def test_of_many_people_who_vote_at_once_just_enough_decide(system: System) -> None:
    await system.publish(ACTIONS)
    for _ in range(10):
        execution_id = await system.start(ACTIONS)
        pause = only_pause(await system.paused(execution_id))
        people = [Actor(kind="person", name=f"person-{number}") for number in range(6)]
        replies = await asyncio.gather(
            *(system.answer(execution_id, pause.pause_id, {}, who, action="approve") for who in people)
        )
        taken = [reply for reply in replies if isinstance(reply, PauseAnswered)]
        # Who says the same once it is decided is told that it stands.
        assert sorted(reply.repeated for reply in taken) == [False] * 2 + [True] * 4
        state = await system.ended(execution_id)
        assert [vote.by.name for vote in state.pauses[pause.pause_id].votes]
        facts = [event.data for event in await system.events(execution_id)]
        assert sum(isinstance(fact, PauseVoted) for fact in facts) == 2
        assert sum(isinstance(fact, PauseResolved) for fact in facts) == 1


async def test_people_are_reminded_others_are_asked_and_at_last_it_is_decided_for_them(system: System) -> None:
    await system.publish(LATE)
    execution_id = await system.start(LATE)
    pause = only_pause(await system.paused(execution_id))
    early = await system.answer(execution_id, pause.pause_id, {"approved": True}, EVE, groups=("leads",))
    assert problem(early) == "not-an-assignee"
    state = await system.ended(execution_id)
    events = await system.events(execution_id)
    times = {
        type(event.data): event.recorded_at
        for event in events
        if isinstance(event.data, PauseRequested | PauseReminded | PauseEscalated | PauseExpired)
    }
    assert list(times) == [PauseRequested, PauseReminded, PauseEscalated, PauseExpired]
    assert times[PauseReminded] - times[PauseRequested] >= timedelta(milliseconds=800)
    assert times[PauseEscalated] - times[PauseRequested] >= timedelta(milliseconds=1500)
    assert times[PauseExpired] - times[PauseEscalated] >= timedelta(seconds=1)
    assert block(state, "after").outputs == {"result": "deny"}
    assert state.pauses[pause.pause_id].assignees == ("ann", "group:leads")


async def test_who_is_asked_later_may_answer_then(system: System) -> None:
    await system.publish(LATE)
    execution_id = await system.start(LATE)
    pause = only_pause(await system.paused(execution_id))
    await system.when(execution_id, lambda state: state.pauses[pause.pause_id].escalations == 1)
    reply = await system.answer(execution_id, pause.pause_id, {"approved": True}, EVE, groups=("leads",))
    assert isinstance(reply, PauseAnswered)
    assert block(await system.ended(execution_id), "after").outputs == {"result": "approve"}


async def test_time_that_is_given_counts_and_the_old_timer_ends_nothing(system: System) -> None:
    await system.publish(SLOW)
    execution_id = await system.start(SLOW)
    pause = only_pause(await system.paused(execution_id))
    until = datetime.now(UTC) + timedelta(hours=1)
    about = {"tenant": TENANT, "execution_id": execution_id, "pause_id": pause.pause_id, "expires_at": until}
    await system.answer(execution_id, PauseId(new_id()), {})  # hitl is there
    stranger = await request(system, subjects.EXTEND_REQUESTS, ExtendPause(**about, actor=EVE))  # pyright: ignore[reportArgumentType]
    assert problem(stranger) == "not-the-owner"
    owner = await request(system, subjects.EXTEND_REQUESTS, ExtendPause(**about, actor=ANN, reason="holidays"))  # pyright: ignore[reportArgumentType]
    assert owner == PauseChanged(version=(await system.state(execution_id)).version)

    async def slept_on() -> bool:
        facts = [event.data for event in await system.events(execution_id)]
        return any(isinstance(fact, ExecutionPaused) and fact.due_at == until for fact in facts)

    await eventually(slept_on)
    assert pause.expires_at is not None
    assert datetime.now(UTC) >= pause.expires_at
    assert only_pause(await system.state(execution_id)).status == "open"
    assert isinstance(await system.answer(execution_id, pause.pause_id, {"approved": True}), PauseAnswered)
    assert (await system.ended(execution_id)).status == "completed"


async def test_who_has_it_passed_on_answers_in_the_place_of_the_other(system: System) -> None:
    await system.publish(LATE)
    execution_id = await system.start(LATE)
    pause = only_pause(await system.paused(execution_id))
    await system.answer(execution_id, PauseId(new_id()), {})  # hitl is there
    command = DelegatePause(
        tenant=TENANT, execution_id=execution_id, pause_id=pause.pause_id, to="bob", actor=ANN, reason="away"
    )
    first, second = [await request(system, subjects.DELEGATE_REQUESTS, command) for _ in range(2)]
    assert isinstance(first, PauseChanged)
    assert isinstance(second, PauseChanged)
    assert (first.repeated, second.repeated) == (False, True)
    assert problem(await system.answer(execution_id, pause.pause_id, {"approved": True}, ANN)) == "not-an-assignee"
    assert isinstance(await system.answer(execution_id, pause.pause_id, {"approved": True}, BOB), PauseAnswered)
    outputs = block(await system.ended(execution_id), "ask").outputs
    assert (outputs["decided_by"], outputs["on_behalf_of"]) == ("bob", "ann")


async def test_an_answer_and_the_end_of_its_time_have_one_winner_whoever_it_is(system: System) -> None:
    document = ASKING.replace('message: "?"', 'message: "?", expires_in: 500ms, on_expiry: {action: deny}')
    await system.publish(document)
    won: list[bool] = []

    async def raced(number: int) -> None:
        execution_id = await system.start(document)
        pause = only_pause(await system.when(execution_id, lambda state: bool(state.pauses)))
        assert pause.expires_at is not None
        early = (pause.expires_at - datetime.now(UTC)).total_seconds() - 0.01 + number * 0.001
        await asyncio.sleep(max(0.0, early))  # the race that is tested
        reply = await system.answer(execution_id, pause.pause_id, {"approved": True})
        state = await system.ended(execution_id)
        if isinstance(reply, PauseAnswered):
            assert block(state, "after").outputs == {"result": True}
        else:
            assert (problem(reply), block(state, "after").outputs) == ("pause-expired", {"result": False})
        facts = [event.data for event in await system.events(execution_id)]
        assert sum(isinstance(fact, PauseResolved | PauseExpired) for fact in facts) == 1
        won.append(isinstance(reply, PauseAnswered))

    await asyncio.gather(*(raced(number) for number in range(20)))
    assert len(won) == 20
