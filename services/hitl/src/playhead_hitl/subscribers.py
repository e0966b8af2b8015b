"""What comes over the bus: decode, call one handler, answer."""

import logging

import msgspec
from faststream import AckPolicy
from faststream.nats import NatsBroker, NatsMessage

from playhead_contracts import subjects
from playhead_contracts.commands import AnswerPause, Rejected
from playhead_contracts.errors import PlayheadError
from playhead_contracts.problems import problem_of
from playhead_eventlog import EventLog
from playhead_hitl.handlers import answer_pause
from playhead_runtime.bus import Bus
from playhead_runtime.clock import Clock

log = logging.getLogger("playhead.hitl")

QUEUE = "hitl"


def subscribe(broker: NatsBroker, event_log: EventLog, bus: Bus, clock: Clock) -> None:
    """Serve the requests of `subjects.ANSWER_REQUESTS`; any number of hitl services share them.

    Core NATS: nothing to ack. A caller that gets no reply asks again, and a repeated answer is told that it stands.
    """

    @broker.subscriber(subjects.ANSWER_REQUESTS, queue=QUEUE, ack_policy=AckPolicy.MANUAL, decoder=_as_it_is)
    async def on_answer(body: bytes) -> bytes:  # pyright: ignore[reportUnusedFunction]
        try:
            command = msgspec.json.decode(body, type=AnswerPause)
            answered = await answer_pause(command, event_log, bus, clock)
        except PlayheadError as refusal:
            problem = problem_of(refusal)
            if problem.status >= 500:
                log.error("answer not taken", extra={"problem": problem.kind, "reason": str(refusal)})
            return msgspec.json.encode(Rejected(problem=problem.encode().decode(), status=problem.status))
        log.info(
            "pause answered",
            extra={"pause_id": command.pause_id, "version": answered.version, "repeated": answered.repeated},
        )
        return msgspec.json.encode(answered)


async def _as_it_is(message: NatsMessage) -> bytes:
    """The body, undecoded: what does not decode must be answered, which the bus library would not do."""
    return message.body
