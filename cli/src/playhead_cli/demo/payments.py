"""The outside world of the demo: a payment service, reached by real HTTP over loopback.

`POST /payments` pays and answers 201. The same Idempotency-Key again pays nothing and gets the first answer again.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import msgspec


class Received(msgspec.Struct, frozen=True):
    """A request for a payment as it came. `paid` is False for a repeat, which moved no money."""

    idempotency_key: str
    order: dict[str, Any]
    payment_id: str
    paid: bool


class PaymentServer:
    """Serves between `with` and its end, in threads; `received` is what came, in order."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def paid(self) -> list[Received]:
        """The requests that moved money."""
        return [received for received in self.received if received.paid]

    def take(self, key: str, order: dict[str, Any]) -> Received:
        """Pay, unless this key has paid before."""
        with self._lock:
            before = next((received for received in self.received if received.idempotency_key == key), None)
            payment_id = before.payment_id if before else f"pay_{len(self.paid) + 1:04}"
            received = Received(key, order, payment_id, before is None)
            self.received.append(received)
        return received

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, name="payments", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()


def _handler(server: PaymentServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 64 * 1024  # one packet for an answer: head and body in two wait 40 ms for each other

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            key = self.headers.get("idempotency-key", "")
            if self.path != "/payments":
                self._answer(404, {"error": f"there is nothing at {self.path}"})
            elif not key:
                self._answer(400, {"error": "send an Idempotency-Key"})
            else:
                self._pay(key, body)

        def _pay(self, key: str, body: bytes) -> None:
            try:
                order = json.loads(body)
                amount, currency = order["amount"], order["currency"]
            except (ValueError, KeyError, TypeError):
                self._answer(422, {"error": "send JSON with amount and currency"})
                return
            received = server.take(key, order)
            self._answer(
                201,
                {"payment_id": received.payment_id, "amount": amount, "currency": currency, "status": "paid"},
            )

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass  # the story tells what came

    return Handler
