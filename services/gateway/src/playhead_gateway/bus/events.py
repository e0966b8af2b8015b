"""CloudEvents that come over the bus, on `playhead.in.<tenant>.<type>`: the same as `POST /v1/events`."""

from playhead_contracts import subjects
from playhead_contracts.errors import Fault
from playhead_gateway.bus.callers import Sent, caller_of, read_sent
from playhead_gateway.bus.refusing import answers_or_refusal, verdict_on
from playhead_gateway.bus.replies import Answers
from playhead_gateway.bus.subscriber import Done, Verdict
from playhead_gateway.cloud_events import read_cloud_event
from playhead_gateway.handlers.listening import Reply
from playhead_gateway.handlers.receiving import receive_event
from playhead_gateway.problems import InvalidRequest
from playhead_gateway.services import Services
from playhead_runtime.pull import Delivery
from playhead_runtime.spans import processing
from playhead_runtime.tracing import Entered


class Inbox:
    """Puts events from outside into the log."""

    def __init__(self, services: Services):
        self._services = services

    async def handle(self, delivery: Delivery) -> Verdict:
        """Record one event. The same source and id again is the same event."""
        sent = read_sent(delivery)
        name = sent.headers.get("ce-id") or sent.headers.get("nats-msg-id") or sent.name
        answers = answers_or_refusal(self._services, sent, name)
        told = answers if isinstance(answers, Answers) else None
        try:
            if told is None:
                assert isinstance(answers, Exception)
                raise answers
            with self._traced(sent, name):
                reply = await self._receive(sent)
            await told.receipt(reply, repeated=reply.status == 200)
        except Exception as exc:  # noqa: BLE001 - the edge: told, kept or tried again, never swallowed
            return await verdict_on(self._services, sent, exc, told)
        return Done()

    def _traced(self, sent: Sent, name: str) -> Entered:
        subject, came, group = sent.delivery.subject, sent.headers.get("traceparent"), subjects.INBOX_CONSUMER
        return processing(self._services.tracer, subject, name, came, consumer=group, begins=True)

    async def _receive(self, sent: Sent) -> Reply:
        caller = await caller_of(self._services, sent)
        caller.check(("executions:run",))
        event = read_cloud_event(sent.headers.items(), sent.data)
        if event.event_type != sent.kind:
            detail = f"the subject says {sent.kind[:100]}"
            raise InvalidRequest("the event is not of the type in its subject", errors=[Fault("#/type", detail)])
        return await receive_event(self._services, caller, event)
