"""Our spans: how each is called, and what it says. Names and attributes follow OpenTelemetry's semantic conventions.

Names have few values: templates, workflow ids, ids of blocks. Ids of executions are attributes. Nothing that came as
input or is given as output is in there, and neither are URLs and paths, which may hold secrets and tokens of links.
Each of these gives something to enter; where nobody wants spans it is next to nothing.
"""

from collections.abc import Sequence
from typing import Protocol

from playhead_contracts.events import BlockError
from playhead_runtime.tracing import NOWHERE, Entered, Tracer, here

EXECUTION = "playhead.execution.id"
TENANT = "playhead.tenant"
BLOCK_PATH = "playhead.block.path"
PAUSE = "playhead.pause.id"

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "QUERY"})


def template_of(subject: str) -> str:
    """A subject of ours with its tenant left open: `playhead.exec.{tenant}.run`."""
    parts = subject.split(".")
    if len(parts) > 3 and parts[1] in ("cmd", "exec", "task", "in"):
        parts[2] = "{tenant}"
        if parts[1] == "in":
            parts[3:] = ["{type}"]
    return ".".join(parts)


def publishing(subject: str, message_id: str, execution_id: str | None = None) -> Entered:
    """Sending one message. What it carries as `traceparent` is the current one inside of this."""
    span = here()
    if span is None or not span.is_recording:
        return NOWHERE
    attributes = _messaging(subject, "publish", "send", message_id, execution_id)
    return span.child(f"publish {template_of(subject)}", "producer", attributes)


def processing(
    tracer: Tracer,
    subject: str,
    message_id: str,
    traceparent: str | None,
    *,
    execution_id: str | None = None,
    consumer: str | None = None,
    begins: bool = False,
) -> Entered:
    """Handling one message, which carried this `traceparent`.

    Without one it is a part of nobody's trace; one is begun with it if it `begins` something, as a call over HTTP does.
    """
    if traceparent is None and not begins:
        return NOWHERE
    if not tracer.is_on:
        return tracer.carry(traceparent)
    attributes = _messaging(subject, "process", "process", message_id, execution_id)
    if consumer is not None:
        attributes["messaging.consumer.group.name"] = consumer
    return tracer.enter(f"process {template_of(subject)}", "consumer", attributes, traceparent)


def _messaging(
    subject: str, name: str, kind: str, message_id: str, execution_id: str | None
) -> dict[str, str | int | float | bool]:
    attributes: dict[str, str | int | float | bool] = {
        "messaging.system": "nats",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": subject,
        "messaging.destination.template": template_of(subject),
        "messaging.message.id": message_id,
    }
    if execution_id is not None:
        attributes["messaging.message.conversation_id"] = execution_id
    return attributes


class Execution(Protocol):
    """What a span says of an execution, whose state is the engine's."""

    @property
    def execution_id(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def workflow_id(self) -> str: ...
    @property
    def workflow_version(self) -> int: ...
    @property
    def status(self) -> str: ...
    @property
    def traceparent(self) -> str | None: ...
    @property
    def error(self) -> BlockError | None: ...


def segment(tracer: Tracer, execution: Execution, epoch: int, links: Sequence[str | None] = ()) -> Entered:
    """One executor's run of an execution, from a claim to the next pause or to the end.

    It is in the trace of the command that set it going; without one, in that in which the execution was created.
    """
    parent = here()
    if not tracer.is_on:
        return NOWHERE if parent is not None else tracer.carry(execution.traceparent)
    name = f"invoke_workflow {execution.workflow_id}"
    attributes = {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": execution.workflow_id,
        EXECUTION: execution.execution_id,
        TENANT: execution.tenant,
        "playhead.workflow.version": execution.workflow_version,
        "playhead.epoch": epoch,
    }
    if parent is None:
        others = [link for link in links if link != execution.traceparent]
        return tracer.enter(name, "internal", attributes, execution.traceparent, others)
    return parent.child(name, "internal", attributes, links)


def segment_over(execution: Execution) -> None:
    """How the execution is when its executor lets go of it."""
    span = here()
    if span is not None and span.is_recording:
        span.set({"playhead.execution.status": str(execution.status)})
        if execution.status in ("failed", "timed_out") and execution.error is not None:
            span.fail(execution.error.type)


def block_attempt(execution_id: str, path: str, kind: str, attempt: int) -> Entered:
    """One attempt at one block instance, called after the block as the document has it."""
    span = here()
    if span is None or not span.is_recording:
        return NOWHERE
    attributes = {
        EXECUTION: execution_id,
        BLOCK_PATH: path,
        "playhead.block.type": kind,
        "playhead.block.attempt": attempt,
    }
    return span.child(f"block {path.rpartition('/')[2]}", "internal", attributes)


def http_call(method: str, host: str, port: int) -> Entered:
    """One request to the outside. Its URL is left out: it may hold what is secret."""
    span = here()
    if span is None or not span.is_recording:
        return NOWHERE
    name = method if method in _METHODS else "HTTP"
    attributes = {
        "http.request.method": _method(method),
        "server.address": host,
        "server.port": port,
    }
    return span.child(name, "client", attributes)


def http_answered(status: int) -> None:
    """What the request of an `http_call` was answered with."""
    span = here()
    if span is not None and span.is_recording:
        span.set({"http.response.status_code": status})
        if status >= 400:
            span.fail(str(status))


def pause_requested(execution_id: str, path: str, pause_id: str) -> None:
    """People are asked now: a span without length, for what follows may come days later, in another trace."""
    span = here()
    if span is not None and span.is_recording:
        with span.child("pause.requested", "internal", {EXECUTION: execution_id, BLOCK_PATH: path, PAUSE: pause_id}):
            pass


def request(tracer: Tracer, method: str, scheme: str, traceparent: str | None) -> Entered:
    """Answering a request. Its path is left out: it may hold the token of a link."""
    attributes = {"http.request.method": _method(method), "url.scheme": scheme}
    return tracer.enter(method if method in _METHODS else "HTTP", "server", attributes, traceparent)


def request_answered(method: str, route: str | None, status: int) -> None:
    """What the `request` that is being answered was, as it was routed, and how it ended."""
    span = here()
    if span is None or not span.is_recording:
        return
    span.set({"http.response.status_code": status})
    if route:
        span.name(f"{method if method in _METHODS else 'HTTP'} {route}")
        span.set({"http.route": route})
    if status >= 500:
        span.fail(str(status))


def about(execution: Execution) -> None:
    """Say which execution the current work is about, and point to where it was created, unless that is here."""
    span = here()
    if span is not None and span.is_recording:
        span.set({EXECUTION: execution.execution_id, TENANT: execution.tenant})
        if execution.traceparent != span.traceparent:
            span.link(execution.traceparent)


def _method(method: str) -> str:
    return method if method in _METHODS else "_OTHER"
