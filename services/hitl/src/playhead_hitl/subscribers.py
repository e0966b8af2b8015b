"""What comes over the bus: decode, call one handler, answer."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from faststream import AckPolicy
from faststream.nats import NatsBroker, NatsMessage

from playhead_contracts import subjects
from playhead_contracts.commands import (
    AnswerPause,
    DelegatePause,
    ExtendPause,
    PauseAnswered,
    PauseChanged,
    Rejected,
)
from playhead_contracts.errors import PlayheadError
from playhead_contracts.problems import problem_of
from playhead_hitl.handlers import Hitl, answer_pause, delegate_pause, extend_pause
from playhead_runtime.ids import new_id
from playhead_runtime.spans import processing
from playhead_runtime.tracing import Tracer

log = logging.getLogger("playhead.hitl")

QUEUE = "hitl"

Request = TypeVar("Request", AnswerPause, ExtendPause, DelegatePause)


def subscribe(broker: NatsBroker, hitl: Hitl, tracer: Tracer) -> None:
    """Serve the requests about pauses; any number of hitl services share them.

    Core NATS: nothing to ack. A caller that gets no reply asks again, and a repeated answer is told that it stands.
    """
    _serve(broker, tracer, subjects.ANSWER_REQUESTS, AnswerPause, lambda command: answer_pause(command, hitl))
    _serve(broker, tracer, subjects.EXTEND_REQUESTS, ExtendPause, lambda command: extend_pause(command, hitl))
    _serve(broker, tracer, subjects.DELEGATE_REQUESTS, DelegatePause, lambda command: delegate_pause(command, hitl))


def _serve(
    broker: NatsBroker,
    tracer: Tracer,
    subject: str,
    kind: type[Request],
    handle: Callable[[Request], Awaitable[PauseAnswered | PauseChanged]],
) -> None:
    @broker.subscriber(subject, queue=QUEUE, ack_policy=AckPolicy.MANUAL, decoder=_as_it_is)
    async def on_request(body: bytes) -> bytes:  # pyright: ignore[reportUnusedFunction]
        try:
            command = msgspec.json.decode(body, type=kind)
            came, execution_id = command.traceparent, command.execution_id
            with processing(tracer, subject, new_id(), came, execution_id=execution_id, consumer=QUEUE):
                done = await handle(command)
        except PlayheadError as refusal:
            problem = problem_of(refusal)
            if problem.status >= 500:
                log.error("request not taken", extra={"problem": problem.kind, "reason": str(refusal)})
            return msgspec.json.encode(Rejected(problem=problem.encode().decode(), status=problem.status))
        log.info(
            "request taken",
            extra={
                "kind": kind.__name__,
                "pause_id": command.pause_id,
                "version": done.version,
                "repeated": done.repeated,
            },
        )
        return msgspec.json.encode(done)


async def _as_it_is(message: NatsMessage) -> bytes:
    """The body, undecoded: what does not decode must be answered, which the bus library would not do."""
    return message.body
