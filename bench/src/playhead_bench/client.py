"""A lean HTTP client: one keep-alive connection, so that a latency is the server's and not the client library's."""

from http.client import HTTPConnection
from time import perf_counter

import msgspec

from playhead_contracts.errors import PlayheadError
from playhead_contracts.events import Json


class Refusal(PlayheadError):
    """The gateway did not do what a benchmark asked for."""


class Client:
    """Calls on one gateway, timed."""

    def __init__(self, port: int):
        self.port = port
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)

    def post(self, path: str, body: Json, expect: int) -> tuple[dict[str, Json], float]:
        """The answer, and the milliseconds from sending to the whole answer read."""
        data = msgspec.json.encode(body)
        began = perf_counter()
        self._connection.request("POST", path, data, {"content-type": "application/json"})
        response = self._connection.getresponse()
        answer = response.read()
        took_ms = (perf_counter() - began) * 1000
        if response.status != expect:
            raise Refusal(f"POST {path}: {response.status} {answer.decode()}")
        return msgspec.json.decode(answer), took_ms

    def is_ready(self) -> bool:
        try:
            self._connection.request("GET", "/health/ready")
            response = self._connection.getresponse()
            response.read()
        except OSError:
            self._connection.close()
            return False
        return response.status == 200
