"""A collector of spans for one machine: OTLP over HTTP, as protobuf, kept in memory.

Any service that is told `OTEL_EXPORTER_OTLP_ENDPOINT` sends its spans here. Not for production: nothing is stored.
"""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

PATH = "/v1/traces"


class Link(msgspec.Struct, frozen=True):
    """Another span, maybe of another trace."""

    trace_id: str
    span_id: str


class SeenSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A span as it was exported. Ids are in hexadecimal; `parent_id` is empty for the first one of a trace."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    started_ns: int
    ended_ns: int
    attributes: dict[str, Any]
    links: tuple[Link, ...]
    is_error: bool

    @property
    def seconds(self) -> float:
        return (self.ended_ns - self.started_ns) / 1e9


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that was killed, or left; what it had sent is here


class SpanReceiver:
    """Serves between `with` and its end, in threads; `spans` is what has come so far."""

    def __init__(self) -> None:
        self.spans: list[SeenSpan] = []
        self.requests: list[bytes] = []
        """The bodies, unpacked: all that has left the services."""
        self._http = _Server(("127.0.0.1", 0), _handler(self))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def environ(self) -> dict[str, str]:
        """The variables with which services export every span to here."""
        return {
            "OTEL_SDK_DISABLED": "false",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": self.url + PATH,
            "OTEL_TRACES_SAMPLER": "parentbased_always_on",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            # A proxy leads elsewhere.
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def take(self, body: bytes) -> None:
        """Keep what one request holds. Raises DecodeError."""
        decoded = ExportTraceServiceRequest.FromString(body)
        self.requests.append(body)
        self.spans.extend(_spans(decoded))

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, name="spans", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()


def _spans(request: ExportTraceServiceRequest) -> Iterator[SeenSpan]:
    for of_service in request.resource_spans:
        service = str(_values(of_service.resource.attributes).get("service.name", ""))
        for of_scope in of_service.scope_spans:
            for span in of_scope.spans:
                yield SeenSpan(
                    service=service,
                    name=span.name,
                    kind=ProtoSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    started_ns=span.start_time_unix_nano,
                    ended_ns=span.end_time_unix_nano,
                    attributes=_values(span.attributes),
                    links=tuple(Link(link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                    is_error=span.status.code == Status.STATUS_CODE_ERROR,
                )


def _values(attributes: "Any") -> dict[str, Any]:
    pairs: list[KeyValue] = list(attributes)
    found: dict[str, Any] = {}
    for pair in pairs:
        which = pair.value.WhichOneof("value")
        found[pair.key] = None if which is None else getattr(pair.value, which)
    return found


def _handler(receiver: SpanReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 64 * 1024  # one packet for an answer: head and body in two wait 40 ms for each other

        def do_POST(self) -> None:
            body = b"".join(self._pieces())
            if self.path != PATH:
                self._answer(404)
                return
            try:
                receiver.take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            except (DecodeError, OSError):
                self._answer(400)
                return
            self._answer(200)

        def _pieces(self) -> Iterator[bytes]:
            """The body, which some exporters send in chunks (RFC 9112, section 7.1)."""
            if self.headers.get("transfer-encoding", "").lower() != "chunked":
                yield self.rfile.read(int(self.headers.get("content-length", "0")))
                return
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                continue  # fields behind the body

        def _answer(self, status: int) -> None:
            # An empty body is an empty ExportTraceServiceResponse: everything was taken.
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass  # what came is in `spans`

    return Handler
