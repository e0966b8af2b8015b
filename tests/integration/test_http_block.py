"""The `http` block over real HTTP."""

import asyncio
import gzip
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from playhead_contracts.events import BlockError, Json
from playhead_contracts.workflow import HttpBlock
from playhead_executor.blocks.contract import CUT, BlockCall, BlockFailure
from playhead_executor.blocks.http import MAX_ERROR_BODY_BYTES, HttpRunner
from playhead_executor.secrets import redacted
from playhead_runtime.addresses import AllowedAddresses, BadAddressRule
from tests.outside import OutsideServer
from tests.system import eventually


def call(url: Any, *, key: str = "execution-1/pay/1", **inputs: Any) -> BlockCall:
    return BlockCall(
        execution_id="execution-1",
        path="pay",
        attempt=1,
        config=HttpBlock(type="http", url="https://example.com"),
        inputs={"url": url, "timeout_seconds": 10, **inputs},
        idempotency_key=key,
        started_at=datetime(2026, 3, 1, tzinfo=UTC),
        log=logging.LoggerAdapter(logging.getLogger(__name__)),
    )


@pytest.fixture
async def server() -> AsyncIterator[OutsideServer]:
    async with OutsideServer() as server:
        yield server


@pytest.fixture
async def runner() -> AsyncIterator[HttpRunner]:
    async with HttpRunner(AllowedAddresses(["private"])) as runner:
        yield runner


async def outputs(runner: HttpRunner, called: BlockCall) -> dict[str, Json]:
    return (await runner.run(called)).outputs


async def failure(runner: HttpRunner, called: BlockCall) -> BlockError:
    with pytest.raises(BlockFailure) as caught:
        await runner.run(called)
    return caught.value.error


async def test_status_headers_and_parsed_json_are_the_outputs(runner: HttpRunner, server: OutsideServer) -> None:
    server.respond("/pay", status=201, body={"paid": [1, None]}, headers={"X-Request-Id": "7"})
    answer = await outputs(runner, call(f"{server.url}/pay", method="POST"))
    assert answer["status"] == 201
    assert answer["headers"]["x-request-id"] == "7"
    assert answer["body"] == {"paid": [1, None]}


async def test_method_and_timeout_are_the_blocks_own_unless_the_inputs_say_otherwise(
    runner: HttpRunner, server: OutsideServer
) -> None:
    server.respond("/x")
    called = call(f"{server.url}/x", timeout_seconds=None)
    await runner.run(called)
    await runner.run(call(f"{server.url}/x", method="delete"))
    assert [request.method for request in server.requests] == ["GET", "DELETE"]


@pytest.mark.parametrize("body", [{"a": 1}, [1, 2], 5, 1.5, True, False, {}])
async def test_a_body_that_is_not_text_is_sent_as_json(runner: HttpRunner, server: OutsideServer, body: Json) -> None:
    server.respond("/x")
    await runner.run(call(f"{server.url}/x", method="POST", body=body))
    assert server.requests[0].headers["content-type"] == "application/json"
    assert server.requests[0].body in (b'{"a":1}', b"[1,2]", b"5", b"1.5", b"true", b"false", b"{}")


async def test_text_is_sent_as_it_is(runner: HttpRunner, server: OutsideServer) -> None:
    server.respond("/x")
    await runner.run(call(f"{server.url}/x", method="POST", body="grüße"))
    assert server.requests[0].headers["content-type"] == "text/plain; charset=utf-8"
    assert server.requests[0].body == "grüße".encode()


async def test_no_body_is_no_body(runner: HttpRunner, server: OutsideServer) -> None:
    server.respond("/x")
    await runner.run(call(f"{server.url}/x", method="POST", body=None))
    assert server.requests[0].body == b""
    assert "content-type" not in server.requests[0].headers


@pytest.mark.parametrize(
    ("content_type", "body", "sent"),
    [
        ("application/vnd.api+json", {"a": 1}, b'{"a":1}'),
        ("application/json", '{"a": 1}', b'{"a": 1}'),
        ("application/x-www-form-urlencoded", {"a": "1&2", "b": [1, True], "c": None}, b"a=1%262&b=1&b=true"),
    ],
)
async def test_the_authors_content_type_stays(
    runner: HttpRunner, server: OutsideServer, content_type: str, body: Json, sent: bytes
) -> None:
    server.respond("/x")
    await runner.run(call(f"{server.url}/x", method="POST", body=body, headers={"Content-Type": content_type}))
    assert server.requests[0].headers["content-type"] == content_type
    assert server.requests[0].body == sent


async def test_headers_and_query_are_sent_and_null_leaves_them_out(runner: HttpRunner, server: OutsideServer) -> None:
    server.respond("/x")
    headers = {"X-Text": "a", "X-Number": 7, "X-Truth": True, "X-None": None}
    query = {"tag": ["a b", "c"], "n": 1, "none": None}
    await runner.run(call(f"{server.url}/x?already=there", headers=headers, query=query))
    received = server.requests[0]
    assert received.query == "already=there&tag=a+b&tag=c&n=1"
    assert (received.headers["x-text"], received.headers["x-number"]) == ("a", "7")
    assert received.headers["x-truth"] == "true"
    assert "x-none" not in received.headers


async def test_a_query_in_the_url_is_sent_as_it_was_written(runner: HttpRunner, server: OutsideServer) -> None:
    server.respond("/x")
    await runner.run(call(f"{server.url}/x?a=b%20c&sig=%2B", query={}))
    assert server.requests[0].query == "a=b%20c&sig=%2B"


async def test_the_idempotency_key_is_sent_as_a_quoted_string(runner: HttpRunner, server: OutsideServer) -> None:
    server.respond("/x")
    await runner.run(call(f"{server.url}/x", method="POST", key='each[2]/"pay"\\1'))
    assert server.requests[0].headers["idempotency-key"] == r'"each[2]/\"pay\"\\1"'


async def test_the_authors_idempotency_key_stays(runner: HttpRunner, server: OutsideServer) -> None:
    server.respond("/x")
    await runner.run(call(f"{server.url}/x", headers={"Idempotency-Key": "mine"}))
    assert server.requests[0].headers["idempotency-key"] == "mine"


@pytest.mark.parametrize(
    ("content_type", "content", "body"),
    [
        ("application/json; charset=utf-8", b'{"a": 1}', {"a": 1}),
        ("application/json", b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        ("application/problem+json", b"[1]", [1]),
        ("application/json", b"", None),
        ("application/json", b"{broken", "{broken"),
        ("application/json", b"NaN", "NaN"),
        ("application/json", b"[" * 5000 + b"]" * 5000, "[" * 5000 + "]" * 5000),
        ("text/plain", "grüße".encode(), "grüße"),
        ("text/plain; charset=latin-1", "grüße".encode("latin-1"), "grüße"),
        ("text/plain; charset=nobody-knows", b"hello", "hello"),
        ("text/html", b"<p>", "<p>"),
        ("image/svg+xml", b"<svg/>", "<svg/>"),
        ("application/octet-stream", b"\x00\xff", {"base64": "AP8="}),
        ("", b"\x00\xff", {"base64": "AP8="}),
    ],
)
async def test_the_body_is_read_as_what_it_says_it_is(
    runner: HttpRunner, server: OutsideServer, content_type: str, content: bytes, body: Json
) -> None:
    server.respond("/x", body=content, headers={"Content-Type": content_type})
    assert (await outputs(runner, call(f"{server.url}/x")))["body"] == body


async def test_a_packed_body_is_unpacked(runner: HttpRunner, server: OutsideServer) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    server.respond("/x", body=gzip.compress(b'{"a": 1}'), headers=headers)
    assert (await outputs(runner, call(f"{server.url}/x")))["body"] == {"a": 1}


@pytest.mark.parametrize("content", [b"not packed", gzip.compress(b"abc" * 1000, mtime=0)[:20]])
async def test_a_body_that_cannot_be_unpacked_is_a_broken_exchange(
    runner: HttpRunner, server: OutsideServer, content: bytes
) -> None:
    server.respond("/x", body=content, headers={"Content-Encoding": "gzip"})
    assert (await failure(runner, call(f"{server.url}/x"))).type == "connection_failed"


async def test_an_answer_to_head_has_no_body(runner: HttpRunner, server: OutsideServer) -> None:
    server.respond("/x", body="a" * 5_000_000)
    assert (await outputs(runner, call(f"{server.url}/x", method="HEAD")))["body"] is None


@pytest.mark.parametrize("status", [301, 302, 307])
async def test_a_redirect_completes_and_is_not_followed(runner: HttpRunner, server: OutsideServer, status: int) -> None:
    server.respond("/x", status=status, headers={"Location": f"{server.url}/elsewhere"})
    answer = await outputs(runner, call(f"{server.url}/x"))
    assert answer["status"] == status
    assert answer["headers"]["location"] == f"{server.url}/elsewhere"
    assert [request.path for request in server.requests] == ["/x"]


@pytest.mark.parametrize("location", ["javascript:alert(1)", "http://xn--/", "http://[", "\x01", "a" * 70_000])
async def test_a_redirect_that_leads_nowhere_completes_all_the_same(
    runner: HttpRunner, server: OutsideServer, location: str
) -> None:
    server.respond("/x", status=302, headers={"Location": location})
    assert (await outputs(runner, call(f"{server.url}/x")))["status"] == 302


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        (400, False), (401, False), (404, False), (409, False), (422, False),
        (501, False), (505, False), (408, True), (425, True), (429, True), (500, True), (502, True), (503, True),
        (504, True),
    ],
)  # fmt: skip
async def test_a_status_from_400_on_fails_and_says_whether_trying_again_can_help(
    runner: HttpRunner, server: OutsideServer, status: int, retryable: bool
) -> None:
    server.respond("/x", status=status, body={"why": "because"}, headers={"Retry-After": "3"})
    error = await failure(runner, call(f"{server.url}/x"))
    assert error.type == "http_status"
    assert error.retryable is retryable
    assert error.details["status"] == status
    assert error.details["headers"]["retry-after"] == "3"
    assert error.details["body"] == {"why": "because"}


async def test_a_long_body_of_an_error_is_cut_off(runner: HttpRunner, server: OutsideServer) -> None:
    server.respond("/x", status=500, body={"why": "a" * 5_000_000})
    error = await failure(runner, call(f"{server.url}/x"))
    assert error.type == "http_status"
    assert error.details["body"] == '{"why":"' + "a" * (16 * 1024 - 8) + CUT


async def test_an_error_body_that_is_cut_inside_of_a_secret_tells_none_of_it(
    runner: HttpRunner, server: OutsideServer
) -> None:
    secret = "pa55-word-" * 8
    for shown in range(4, len(secret) + 1):
        before = "." * (MAX_ERROR_BODY_BYTES - shown)
        server.respond(f"/{shown}", 500, before + secret + "." * 100)
        error = await failure(runner, call(f"{server.url}/{shown}"))
        assert redacted(error.details["body"], {"S": secret}) == before + "{{ secrets.S }}" + CUT


async def test_a_slow_answer_is_a_timeout(runner: HttpRunner, server: OutsideServer) -> None:
    server.respond("/x", delay=30)
    error = await failure(runner, call(f"{server.url}/x", timeout_seconds=0.2))
    assert error.type == "timeout"
    assert error.retryable


async def test_an_answer_that_trickles_in_is_a_timeout_as_a_whole(runner: HttpRunner, server: OutsideServer) -> None:
    server.respond("/x", body="a" * 1000, seconds_per_byte=0.05)
    assert (await failure(runner, call(f"{server.url}/x", timeout_seconds=0.3))).type == "timeout"


async def test_nobody_listening_is_a_failed_connection(runner: HttpRunner) -> None:
    async with OutsideServer() as gone:
        url = gone.url
    error = await failure(runner, call(url))
    assert error.type == "connection_failed"
    assert error.retryable


@pytest.mark.parametrize("name", ["nobody.invalid", "a..b", "a" * 64 + ".invalid"])
async def test_a_name_that_nobody_has_is_a_failed_connection(runner: HttpRunner, name: str) -> None:
    assert (await failure(runner, call(f"http://{name}/"))).type == "connection_failed"


async def test_a_server_that_hangs_up_is_a_failed_connection(runner: HttpRunner, server: OutsideServer) -> None:
    server.respond("/x", hang_up=True)
    error = await failure(runner, call(f"{server.url}/x"))
    assert error.type == "connection_failed"
    assert error.retryable


@pytest.mark.parametrize(
    "url",
    [
        None, 7, "", "/path", "example.com", "ftp://example.com/", "file:///etc/passwd", "http://", "http:///x",
        "http://[::1", "http://h:notaport/", "http://h:99999/", "http://h:0/", "http://x/\n", "http://xn--/",
        "javascript:alert(1)",
    ],
)  # fmt: skip
async def test_a_url_that_is_none_is_refused(runner: HttpRunner, url: Json) -> None:
    error = await failure(runner, call(url))
    assert error.type == "invalid_url"
    assert not error.retryable


@pytest.mark.parametrize(
    "inputs",
    [
        {"method": 7},
        {"method": "GE T"},
        {"method": "GET /x HTTP/1.1\r\nX-Smuggled: 1\r\n\r\n"},
        {"headers": [1]},
        {"headers": {"X": {"nested": 1}}},
        {"headers": {"X": "a\r\nX-Smuggled: 1"}},
        {"headers": {"X Y": "a"}},
        {"headers": {"X": "grüße"}},
        {"headers": {"Content-Length": "1"}},
        {"headers": {"transfer-encoding": "chunked"}},
        {"query": "a=b"},
        {"query": {"a": {"nested": 1}}},
        {"timeout_seconds": 0},
        {"timeout_seconds": -1},
        {"timeout_seconds": "10"},
        {"timeout_seconds": True},
    ],
)
async def test_inputs_that_make_no_request_are_refused_and_nothing_is_sent(
    runner: HttpRunner, server: OutsideServer, inputs: dict[str, Json]
) -> None:
    error = await failure(runner, call(f"{server.url}/x", **inputs))
    assert error.type == "invalid_request"
    assert not error.retryable
    assert server.requests == []


async def test_a_response_that_is_too_large_is_not_read_to_its_end(runner: HttpRunner, server: OutsideServer) -> None:
    server.respond("/x", body=b"a" * 65536, times=4096)
    error = await failure(runner, call(f"{server.url}/x"))
    assert error.type == "response_too_large"
    assert not error.retryable
    assert server.bytes_sent < 32 * 1024 * 1024


async def test_a_response_of_exactly_the_limit_is_read(runner: HttpRunner, server: OutsideServer) -> None:
    server.respond("/x", body="a" * (1024 * 1024))
    assert len((await outputs(runner, call(f"{server.url}/x")))["body"]) == 1024 * 1024


async def test_a_response_that_is_too_large_once_unpacked_is_refused(runner: HttpRunner, server: OutsideServer) -> None:
    bomb = gzip.compress(bytes(50 * 1024 * 1024))
    assert len(bomb) < 1024 * 1024
    server.respond("/x", body=bomb, headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"})
    assert (await failure(runner, call(f"{server.url}/x"))).type == "response_too_large"


async def test_a_body_packed_twice_is_left_packed(runner: HttpRunner, server: OutsideServer) -> None:
    server.respond("/x", body=gzip.compress(gzip.compress(b"a")), headers={"Content-Encoding": "gzip, gzip"})
    assert "base64" in (await outputs(runner, call(f"{server.url}/x")))["body"]


async def test_a_cookie_of_one_call_is_not_sent_by_the_next(runner: HttpRunner, server: OutsideServer) -> None:
    server.respond("/x", headers={"Set-Cookie": "session=secret; Path=/"})
    await runner.run(call(f"{server.url}/x"))
    await runner.run(call(f"{server.url}/x"))
    assert "cookie" not in server.requests[1].headers


async def test_proxies_of_the_environment_are_not_used(server: OutsideServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    server.respond("/x")
    async with HttpRunner(AllowedAddresses(["private"])) as runner:
        assert (await outputs(runner, call(f"{server.url}/x")))["status"] == 200


async def test_no_message_tells_the_path_query_or_password_of_the_url(
    runner: HttpRunner, server: OutsideServer
) -> None:
    server.respond("/token-1", status=500)
    server.respond("/token-1/slow", delay=30)
    address = server.url.replace("http://", "http://user:token-2@")
    errors = [
        await failure(runner, call(f"{address}/token-1?key=token-3")),
        await failure(runner, call(f"{address}/token-1/slow?key=token-3", timeout_seconds=0.1)),
        await failure(runner, call("http://user:token-2@127.0.0.1:1/token-1")),
        await failure(runner, call("http://user:token-2@127.0.0.1:token-1/")),
        await failure(runner, call("ftp://token-1")),
    ]
    assert not [error for error in errors if "token" in str(error)]


async def test_two_hundred_slow_calls_wait_side_by_side(runner: HttpRunner, server: OutsideServer) -> None:
    all_are_there = asyncio.Event()
    server.respond("/x", until=all_are_there)
    calls = [asyncio.create_task(outputs(runner, call(f"{server.url}/x?n={n}"))) for n in range(200)]

    async def all_at_once() -> bool:
        return server.open_connections >= 200

    await eventually(all_at_once)
    all_are_there.set()
    answers = await asyncio.gather(*calls)
    assert {answer["status"] for answer in answers} == {200}
    assert {request.query for request in server.requests} == {f"n={n}" for n in range(200)}


async def test_calls_that_time_out_or_are_cancelled_give_their_connections_back(
    runner: HttpRunner, server: OutsideServer
) -> None:
    server.respond("/slow", delay=30)
    server.respond("/x")
    for _ in range(3):  # more, taken together, than there are connections
        late = [failure(runner, call(f"{server.url}/slow", timeout_seconds=0.5)) for _ in range(150)]
        cancelled = [asyncio.create_task(runner.run(call(f"{server.url}/slow"))) for _ in range(150)]
        await asyncio.gather(*late)
        for task in cancelled:
            task.cancel()
        await asyncio.wait(cancelled)
    answers = await asyncio.gather(*(outputs(runner, call(f"{server.url}/x", timeout_seconds=60)) for _ in range(600)))
    assert len(answers) == 600


async def test_basic_bearer_and_key_say_who_asks(runner: HttpRunner, server: OutsideServer) -> None:
    server.respond("/x")
    ways: list[dict[str, Json]] = [
        {"type": "basic", "user": "ann", "password": "pass:word"},
        {"type": "bearer", "token": "t-1"},
        {"type": "api_key", "name": "X-Key", "value": "k-1", "place": "header"},
        {"type": "api_key", "name": "key", "value": "k 2", "place": "query"},
    ]
    for auth in ways:
        await outputs(runner, call(f"{server.url}/x?a=1", auth=auth))
    basic, bearer, header, query = server.requests
    assert basic.headers["authorization"] == "Basic YW5uOnBhc3M6d29yZA=="
    assert bearer.headers["authorization"] == "Bearer t-1"
    assert header.headers["x-key"] == "k-1"
    assert query.query == "a=1&key=k+2"


async def test_user_and_password_of_the_url_say_who_asks_where_nothing_else_does(
    runner: HttpRunner, server: OutsideServer
) -> None:
    server.respond("/x")
    url = server.url.replace("http://", "http://ann:pass%3Aword@") + "/x"
    await outputs(runner, call(url))
    await outputs(runner, call(url, headers={"Authorization": "mine"}))
    await outputs(runner, call(url, auth={"type": "bearer", "token": "t-1"}))
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Basic YW5uOnBhc3M6d29yZA==", "mine", "Bearer t-1"]


async def test_auth_takes_the_place_of_the_header_that_it_sends(runner: HttpRunner, server: OutsideServer) -> None:
    server.respond("/x")
    auth: dict[str, Json] = {"type": "bearer", "token": "t-1"}
    await outputs(runner, call(f"{server.url}/x", headers={"authorization": "other"}, auth=auth))
    assert server.requests[0].headers["authorization"] == "Bearer t-1"


@pytest.mark.parametrize(
    "auth",
    [
        {"type": "basic", "user": "ann", "password": None},
        {"type": "bearer", "token": 7},
        {"type": "bearer", "token": "t-1\r\nX-Smuggled: 1"},
        {"type": "bearer", "token": "grüße"},
        {"type": "api_key", "place": "header", "name": "content-length", "value": "t-1"},
    ],
)
async def test_auth_that_cannot_be_sent_is_refused_without_telling_it(
    runner: HttpRunner, server: OutsideServer, auth: Json
) -> None:
    error = await failure(runner, call(f"{server.url}/x", auth=auth))
    assert error.type == "invalid_request"
    assert "t-1" not in str(error)
    assert server.requests == []


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("999999999", 86_400.0),
        ("Thu, 01 Jan 2015 00:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("1.5", None),
        ("²", None),
        ("Thu, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("-5", None),
    ],
)
async def test_a_failure_says_how_long_the_other_side_asks_to_be_left_alone(
    runner: HttpRunner, server: OutsideServer, said: str, seconds: float | None
) -> None:
    server.respond("/busy", 503, headers={"Retry-After": said})
    error = await failure(runner, call(f"{server.url}/busy"))
    assert (error.retryable, error.retry_after_seconds) == (True, seconds)


async def test_a_response_larger_than_the_block_takes_is_a_failure(runner: HttpRunner, server: OutsideServer) -> None:
    server.respond("/x", body="a" * 2000)
    called = call(f"{server.url}/x")
    small = msgspec.structs.replace(
        called, config=HttpBlock(type="http", url="https://example.com", max_response_bytes=1000)
    )
    error = await failure(runner, small)
    assert (error.type, "1000 bytes" in error.message) == ("response_too_large", True)
    assert (await outputs(runner, called))["body"] == "a" * 2000


async def test_no_block_is_given_more_than_the_operator_allows(server: OutsideServer) -> None:
    server.respond("/x", body="a" * 2000)
    asked = msgspec.structs.replace(
        call(f"{server.url}/x"), config=HttpBlock(type="http", url="https://example.com", max_response_bytes=10_000)
    )
    async with HttpRunner(AllowedAddresses(["private"]), max_response_bytes=1999) as strict:
        assert (await failure(strict, asked)).type == "response_too_large"
    async with HttpRunner(AllowedAddresses(["private"]), max_response_bytes=2000) as strict:
        assert (await outputs(strict, asked))["body"] == "a" * 2000


PRIVATE = [
    "http://127.0.0.1:{port}/x",
    "http://localhost:{port}/x",
    "http://[::1]:{port}/x",
    "http://[::ffff:127.0.0.1]:{port}/x",
    "http://2130706433:{port}/x",
    "http://0.0.0.0:{port}/x",
    "http://10.0.0.1/x",
    "http://169.254.169.254/latest/meta-data",
    "http://100.64.0.1/x",
    "http://[fd00::1]/x",
    "http://[64:ff9b::7f00:1]/x",
    "http://[2002:7f00:1::]/x",
    "http://224.0.0.1/x",
    "http://127.1:{port}/x",
    "http://0x7f.1:{port}/x",
    "http://192.0.0.8/x",
    "http://198.18.0.1/x",
    "http://255.255.255.255/x",
    "http://[::]:{port}/x",
    "http://[::7f00:1]:{port}/x",
    "http://[fe80::1]/x",
    "http://[fec0::1]/x",
    "http://[ff02::1]/x",
    "http://[64:ff9b:1::7f00:1]/x",
    "http://[2001:0:808:808::80ff:fffe]/x",
    "http://[2001:db8::1]/x",
]


@pytest.mark.parametrize("url", PRIVATE)
async def test_what_is_not_public_is_refused_unless_the_operator_allows_it(server: OutsideServer, url: str) -> None:
    port = server.url.rsplit(":", 1)[1]
    async with HttpRunner() as guarded:
        error = await failure(guarded, call(url.format(port=port)))
    assert error.type in ("address_refused", "invalid_url")
    assert server.requests == []
    if error.type == "address_refused":
        assert "PLAYHEAD_HTTP_ALLOW" in error.message
        assert not error.retryable


@pytest.mark.parametrize("rule", ["127.0.0.0/8", "127.0.0.1", "localhost", "private"])
async def test_the_operator_allows_names_addresses_and_ranges(server: OutsideServer, rule: str) -> None:
    server.respond("/x")
    host = "localhost" if rule == "localhost" else "127.0.0.1"
    async with HttpRunner(AllowedAddresses([rule])) as allowed:
        url = server.url.replace("127.0.0.1", host)
        assert (await outputs(allowed, call(f"{url}/x")))["status"] == 200
    async with HttpRunner(AllowedAddresses(["192.168.0.0/16", "example.com"])) as others:
        assert (await failure(others, call(f"{server.url}/x"))).type == "address_refused"


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
)
def test_public_addresses_are_allowed_whatever_form_carries_them(address: str) -> None:
    assert AllowedAddresses().allows("example.com", ipaddress.ip_address(address))


def test_a_range_is_meant_also_where_an_ipv6_address_carries_it() -> None:
    allowed = AllowedAddresses(["10.0.0.0/8", "fd00::/8"])
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "fd00::1"):
        assert allowed.allows("x", ipaddress.ip_address(address))
    for address in ("192.168.0.1", "::ffff:192.168.0.1", "fe80::1", "::1"):
        assert not allowed.allows("x", ipaddress.ip_address(address))


def test_a_name_is_the_same_in_any_case_and_script() -> None:
    allowed = AllowedAddresses(["Bücher.Example."])
    assert allowed.allows("xn--bcher-kva.example", ipaddress.ip_address("10.0.0.1"))
    assert not allowed.allows("b.xn--bcher-kva.example", ipaddress.ip_address("10.0.0.1"))


async def test_what_is_connected_to_is_the_very_address_that_was_checked(
    server: OutsideServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A resolver that gives another answer each time, as somebody who rebinds names would.
    asked: list[str] = []

    async def resolve(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    server.respond("/x")
    url = server.url.replace("127.0.0.1", "rebound.example")
    async with HttpRunner(AllowedAddresses(["127.0.0.1"])) as allowed:
        assert (await outputs(allowed, call(f"{url}/x")))["status"] == 200
    assert asked == ["rebound.example"]
    async with HttpRunner(AllowedAddresses(["127.0.0.1"])) as allowed:
        assert (await failure(allowed, call(f"{url}/x"))).type == "address_refused"


async def test_of_several_addresses_the_allowed_ones_are_tried_in_turn(
    server: OutsideServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        # Nobody listens on the second; the first would answer, and is not allowed.
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("127.0.0.1", "127.0.0.2", "127.0.0.3")
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    port = int(server.url.rsplit(":", 1)[1])
    async with OutsideServer("127.0.0.3", port) as third:
        third.respond("/x")
        async with HttpRunner(AllowedAddresses(["127.0.0.2/31"])) as allowed:
            assert (await outputs(allowed, call(f"http://many.example:{port}/x")))["status"] == 200
    assert server.requests == []


@pytest.mark.parametrize(
    "rule", ["10.0.0.1/8", "*", "*.example.com", "http://example.com", "10.0.0.1:80", "[::1]", "", "a..b", "a b"]
)
def test_a_rule_that_is_none_stops_the_executor(rule: str) -> None:
    with pytest.raises(BadAddressRule, match="PLAYHEAD_HTTP_ALLOW"):
        AllowedAddresses([rule])
