"""Where work stands in a trace, and the spans that are made of it: the one module that touches OpenTelemetry.

Two things that are apart. *Carrying on*: who calls us may say in which trace they are (W3C `traceparent`); that goes
with everything that their call sets going, into events, commands, tasks and HTTP calls, whether we make spans or not.
*Recording*: spans are made and exported when the standard variables say where to (`OTEL_EXPORTER_OTLP_ENDPOINT`, or
`OTEL_TRACES_EXPORTER=otlp`). Without them OpenTelemetry's SDK is not even imported, and where nobody said a
`traceparent` there is nothing to carry: a context variable is read, and that is all.

What is done now stands in a context variable, which tasks take over from whoever starts them. What each span is called
and says, stands in `playhead_runtime.spans`.
"""

import asyncio
import logging
import os
import re
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Final, Literal, Protocol

from playhead_runtime.settings import BadSetting

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import SpanContext
    from opentelemetry.trace import Tracer as OtelTracer

log = logging.getLogger(__name__)

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int | float | bool]

NO_ATTRIBUTES: Attributes = {}
FLUSH_SECONDS = 5.0
"""How long a service that stops waits for its last spans to be taken."""

_QUEUE_SPANS = 16_384
"""Beyond it spans are dropped, with a log line. The SDK's own 2,048 are half a second of a busy executor."""

# https://www.w3.org/TR/trace-context/#traceparent-header-field-values; later versions may have more behind it.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


class Span(Protocol):
    """A place in a trace: what is done now."""

    @property
    def traceparent(self) -> str:
        """What those must be told who do something because of it."""
        ...

    @property
    def is_recording(self) -> bool:
        """Whether anything is made of what is said to it."""
        ...

    def set(self, attributes: Attributes) -> None:
        """Say more about it. Never a value from inputs, outputs, headers or URLs: those may be secret."""
        ...

    def name(self, name: str) -> None: ...

    def link(self, traceparent: str | None) -> None:
        """Point to a span of another trace, or to an earlier one; nothing happens for what is no traceparent."""
        ...

    def fail(self, error_type: str) -> None:
        """It came to nothing, for a reason of few possible ones."""
        ...

    def child(self, name: str, kind: Kind, attributes: Attributes, links: Sequence[str | None] = ()) -> "Entered": ...


_here: ContextVar[Span | None] = ContextVar("playhead_span", default=None)


def here() -> Span | None:
    """The place in a trace at which the calling task is, if there is one."""
    return _here.get()


def current_traceparent() -> str | None:
    """What an event, a command or a call that is made now must carry."""
    span = _here.get()
    return None if span is None else span.traceparent


def valid_traceparent(text: str | None) -> str | None:
    """The text as a `traceparent` of version 00, None if it is none."""
    found = None if text is None else _TRACEPARENT.fullmatch(text)
    if found is None or text is None or (text.startswith("00") and len(text) != 55):
        return None
    return "00" + text[2:55]


class Entered:
    """`with` it to be at a place in a trace. What is raised in there, other than a cancel, fails its span."""

    __slots__ = ("_detach", "_span", "_token")

    def __init__(self, span: Span | None):
        self._span = span
        self._token: Token[Span | None] | None = None
        self._detach: Callable[[], None] | None = None

    def __enter__(self) -> Span | None:
        span = self._span
        if span is not None:
            self._token = _here.set(span)
            if isinstance(span, _Recorded):
                self._detach = span.attach()
        return span

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        # A coroutine that is thrown away at the end of its loop is closed in another context, which was never set.
        is_left_here = kind is not GeneratorExit
        if self._token is not None and is_left_here:
            _here.reset(self._token)
        span = self._span
        if isinstance(span, _Recorded):
            if self._detach is not None and is_left_here:
                self._detach()
            if kind is not None and issubclass(kind, Exception) and not span.has_failed:
                span.fail(kind.__name__)
            span.end()


NOWHERE: Final = Entered(None)
"""Enters nothing; any number of times."""


class _Carried:
    """A place in somebody else's trace, of which we record nothing."""

    __slots__ = ("traceparent",)
    is_recording = False

    def __init__(self, traceparent: str):
        self.traceparent = traceparent

    def set(self, attributes: Attributes) -> None: ...

    def name(self, name: str) -> None: ...

    def link(self, traceparent: str | None) -> None: ...

    def fail(self, error_type: str) -> None: ...

    def child(self, name: str, kind: Kind, attributes: Attributes, links: Sequence[str | None] = ()) -> Entered:
        return NOWHERE


class _Recorded:
    """A span of ours."""

    __slots__ = ("_maker", "_span", "has_failed", "traceparent")

    def __init__(self, maker: "_Maker", span: "OtelSpan"):
        self.has_failed = False
        self._maker = maker
        self._span = span
        told = span.get_span_context()
        self.traceparent = f"00-{told.trace_id:032x}-{told.span_id:016x}-{told.trace_flags:02x}"

    @property
    def is_recording(self) -> bool:
        return self._span.is_recording()

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def name(self, name: str) -> None:
        self._span.update_name(name)

    def link(self, traceparent: str | None) -> None:
        context = self._maker.span_context(traceparent)
        if context is not None:
            self._span.add_link(context)

    def fail(self, error_type: str) -> None:
        self.has_failed = True
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(self._maker.error)

    def child(self, name: str, kind: Kind, attributes: Attributes, links: Sequence[str | None] = ()) -> Entered:
        return Entered(self._maker.make(name, kind, attributes, self._maker.under(self._span), links))

    def attach(self) -> "Callable[[], None]":
        """Let libraries that know OpenTelemetry, in blocks that people write, find this span as theirs."""
        return self._maker.attach(self._span)

    def end(self) -> None:
        self._span.end()


class _Maker:
    """OpenTelemetry, as far as we need it. Imported when spans are wanted, and not before."""

    def __init__(self, tracer: "OtelTracer"):
        from opentelemetry import context, trace

        self._tracer = tracer
        self._context = context
        self._trace = trace
        self._nothing = context.Context()
        self._kinds = {kind.name.lower(): kind for kind in trace.SpanKind}
        self.error = trace.StatusCode.ERROR

    def span_context(self, traceparent: str | None) -> "SpanContext | None":
        text = valid_traceparent(traceparent)
        if text is None:
            return None
        trace = self._trace
        return trace.SpanContext(int(text[3:35], 16), int(text[36:52], 16), True, trace.TraceFlags(int(text[53:], 16)))

    def under(self, span: "OtelSpan") -> "Context":
        return self._trace.set_span_in_context(span, self._nothing)

    def remote(self, traceparent: str | None) -> "Context":
        context = self.span_context(traceparent)
        return self._nothing if context is None else self.under(self._trace.NonRecordingSpan(context))

    def make(
        self, name: str, kind: Kind, attributes: Attributes, parent: "Context", links: Sequence[str | None]
    ) -> _Recorded:
        contexts = [context for link in links if (context := self.span_context(link)) is not None]
        span = self._tracer.start_span(
            name,
            parent,
            self._kinds[kind],
            attributes,
            [self._trace.Link(context) for context in contexts],
        )
        return _Recorded(self, span)

    def attach(self, span: "OtelSpan") -> Callable[[], None]:
        token = self._context.attach(self._trace.set_span_in_context(span))
        return lambda: self._context.detach(token)


class Tracer:
    """Where the traces of one service begin, or come in. Made by `tracing`."""

    def __init__(self, maker: _Maker | None = None):
        self._maker = maker

    @property
    def is_on(self) -> bool:
        """Whether spans are made."""
        return self._maker is not None

    def carry(self, traceparent: str | None) -> Entered:
        """Be where the caller is, without a span."""
        text = valid_traceparent(traceparent)
        return NOWHERE if text is None else Entered(_Carried(text))

    def enter(
        self,
        name: str,
        kind: Kind,
        attributes: Attributes,
        traceparent: str | None,
        links: Sequence[str | None] = (),
    ) -> Entered:
        """A span below the caller's, or the first of a trace; when spans are off, the place of the caller."""
        if self._maker is None:
            return self.carry(traceparent)
        return Entered(self._maker.make(name, kind, attributes, self._maker.remote(traceparent), links))


OFF: Final = Tracer()
"""Makes no spans, and carries on what comes."""


@asynccontextmanager
async def tracing(service: str, flush_seconds: float = FLUSH_SECONDS) -> AsyncGenerator[Tracer]:
    """The tracer of a service, as the `OTEL_*` variables say; its last spans are sent at the end of the block.

    Raises BadSetting.
    """
    if not _is_wanted():
        yield OFF
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter()
    provider = _provider(service, exporter)
    _make_default(provider)
    try:
        yield Tracer(_Maker(provider.get_tracer("playhead")))
    finally:
        await _flushed(provider, exporter, flush_seconds)


def _is_wanted() -> bool:
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter not in ("", "none", "otlp"):
        raise BadSetting("OTEL_TRACES_EXPORTER", repr(exporter), "set it to otlp or none")
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return False
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if exporter != "otlp" and not any(os.environ.get(name) for name in endpoints):
        return False
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if (protocol := os.environ.get(name, "")) not in ("", "http/protobuf"):
            raise BadSetting(name, repr(protocol), "set it to http/protobuf")
    return True


def _provider(service: str, exporter: "SpanExporter") -> "TracerProvider":
    """Endpoint, headers, sampler and limits are read by the SDK itself, from the standard variables."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    default = Resource({"service.name": f"playhead-{service}"})
    # What the variables say goes before ours; `create` alone would call it unknown_service.
    resource = Resource.create()
    if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
        resource = resource.merge(default)
    # Not at exit: it would keep a process that has stopped for as long as its collector is away.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    most = None if "OTEL_BSP_MAX_QUEUE_SIZE" in os.environ else _QUEUE_SPANS
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=most))
    log.info("spans are exported", extra={"service": str(resource.attributes["service.name"])})
    return provider


def _make_default(provider: "TracerProvider") -> None:
    """Let blocks that people write make spans of their own, below ours, by `opentelemetry.trace.get_tracer`."""
    from opentelemetry import trace

    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(provider)


async def _flushed(provider: "TracerProvider", exporter: "SpanExporter", seconds: float) -> None:
    """Send what is left. In a thread, for it waits for the collector; and of our own, which nobody has to wait for."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def shut_down() -> None:
        provider.shutdown()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=shut_down, name="last spans", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            await done.wait()
    except TimeoutError:
        log.warning("the last spans were not taken in time", extra={"seconds": seconds})
        exporter.shutdown()  # it would go on trying
