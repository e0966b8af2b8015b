"""The `http` block: one request, one answer.

Its inputs are `url`, `headers`, `query`, `auth` and `body`, resolved, and `method` and `timeout_seconds`, for which
the block itself is asked when they are not among the inputs. Its outputs are `status`, `headers` with names
in lower case, and `body`:

- nothing at all is null;
- what says that it is JSON is the parsed value, and if it turns out not to be JSON it is the text: the
  request was answered, its effect has happened, and an author can tell a string from an object;
- other text is text, and anything else `{"base64": ...}`.

Every status from 200 to 399 completes. Redirects are not followed, so an author who looks at `url` sees where
the request goes. One pool of connections serves all tenants, and nothing else is kept between calls. It is used
without the client that httpx puts around it. That one reads every redirect, even if it is not to follow it, and fails
an answered request when the redirect leads nowhere; it has cookies; and it takes proxies and passwords from the
environment and from `.netrc`, where a proxy would be a way around the check of addresses
(`playhead_runtime.addresses`).

The URL, and anything else that came from the inputs, may hold secrets. Messages name the host and no more.
"""

import asyncio
import base64
import logging
import zlib
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, cast

import httpx
import msgspec

from playhead_contracts.events import BlockError, Json
from playhead_contracts.workflow import HttpBlock
from playhead_executor.blocks.contract import CUT, BlockCall, BlockFailure, Outcome
from playhead_executor.blocks.json_values import NotJson, parse_json
from playhead_runtime.addresses import AddressRefused, AllowedAddresses, guarded_transport
from playhead_runtime.retry_after import retry_after_seconds
from playhead_runtime.spans import http_answered, http_call
from playhead_runtime.tracing import current_traceparent

MAX_RESPONSE_BYTES = 8 * 1024 * 1024
"""Where the operator says nothing else."""
MAX_ERROR_BODY_BYTES = 16 * 1024
"""As much of the body of a 4xx or 5xx as goes into the error's details."""

_MAX_CONNECTIONS = 512
_MAX_IDLE_CONNECTIONS = 128
_RETRYABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Those that say of themselves that they may go away, or that somebody on the way had no luck."""

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_TEXTUAL = frozenset({_FORM, "application/xml", "application/javascript", "application/x-ndjson"})

_PORTS = {"http": 80, "https": 443}

_GZIP = 16 + zlib.MAX_WBITS  # zlib's way of saying: with a gzip header
_GZIP_NAMES = ("gzip", "x-gzip")

# How long the message is, and where it ends, is said by the client that writes it.
_FRAMING_HEADERS = frozenset({"content-length", "transfer-encoding"})


class HttpRunner:
    """Runs `http` blocks. An async context manager that owns the connections."""

    def __init__(self, allowed: AllowedAddresses | None = None, max_response_bytes: int = MAX_RESPONSE_BYTES) -> None:
        self._max_response_bytes = max_response_bytes
        # It logs every URL and header, and what is secret is in there.
        logging.getLogger("httpcore").setLevel(logging.WARNING)
        limits = httpx.Limits(max_connections=_MAX_CONNECTIONS, max_keepalive_connections=_MAX_IDLE_CONNECTIONS)
        self._transport = guarded_transport(allowed or AllowedAddresses(), limits)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def run(self, call: BlockCall) -> Outcome:
        """Make the request once. The timeout is for the whole exchange, waiting for a connection included.

        Raises BlockFailure of type `http_status` (details: `status`, `headers`, `body`, which is cut off at
        16 KiB; retryable if 408, 425, 429, 500, 502, 503 or 504, and not before what `Retry-After` says), `timeout` or
        `connection_failed` (both retryable; the request may have been acted upon), `address_refused` (the operator does
        not allow it), `response_too_large` (unpacked, for the block or the operator), `invalid_url`, or
        `invalid_request` (method, headers, query, auth, body or timeout are not what they should be).
        """
        request = _request(call)
        block: HttpBlock = call.config
        most = min(block.max_response_bytes or self._max_response_bytes, self._max_response_bytes)
        timeout_seconds = _timeout_seconds(call)
        host = request.url.host
        try:
            with http_call(request.method, host, request.url.port or _PORTS[request.url.scheme]):
                if (traceparent := current_traceparent()) is not None:
                    request.headers.setdefault("traceparent", traceparent)
                async with asyncio.timeout(timeout_seconds):
                    return Outcome(await self._exchange(request, most))
        except TimeoutError as error:
            message = f"{host} had not answered in full after {timeout_seconds:g} s"
            raise _failure("timeout", message, retryable=True) from error
        except AddressRefused as refused:
            raise _failure("address_refused", str(refused)) from refused
        except httpx.LocalProtocolError as error:
            raise _failure("invalid_request", "the method or a header is not valid HTTP") from error
        except httpx.TransportError as error:
            message = f"the exchange with {host} broke: {type(error).__name__}"
            raise _failure("connection_failed", message, retryable=True) from error

    async def _exchange(self, request: httpx.Request, most: int) -> Json:
        response = await self._transport.handle_async_request(request)
        response.request = request
        http_answered(response.status_code)
        try:
            if response.status_code >= 400:
                raise await _status_failure(response)
            content, is_whole = await _read(response, most)
        finally:
            await response.aclose()
        if not is_whole:
            message = f"{request.url.host} answered with more than {most} bytes (max_response_bytes)"
            raise _failure("response_too_large", message, status=response.status_code)
        return {
            "status": response.status_code,
            "headers": dict(response.headers),
            "body": _body(content, response),
        }


def _failure(kind: str, message: str, *, retryable: bool = False, **details: Json) -> BlockFailure:
    return BlockFailure(BlockError(type=kind, message=message, retryable=retryable, details=details))


def _request(call: BlockCall) -> httpx.Request:
    inputs = call.inputs
    block: HttpBlock = call.config
    method = inputs.get("method", block.method)
    if not isinstance(method, str):
        raise _failure("invalid_request", "the method must be a string")
    added_headers, added_query = _auth(inputs.get("auth"))
    query = httpx.QueryParams((*_pairs(inputs, "query"), *added_query))
    url = _url(inputs.get("url"), query)
    try:
        headers = httpx.Headers([*_pairs(inputs, "headers")])
        headers.update(added_headers)
        if refused := _FRAMING_HEADERS & headers.keys():
            raise _failure("invalid_request", f"the header {min(refused)} cannot be set")
        _add_defaults(headers, url, call.idempotency_key)
        content = _content(inputs.get("body"), headers)
        return httpx.Request(method.upper(), url, headers=headers, content=content)
    except UnicodeError as error:
        raise _failure("invalid_request", "the method and headers must be ASCII") from error


def _add_defaults(headers: httpx.Headers, url: httpx.URL, idempotency_key: str) -> None:
    """What is sent where the author says nothing else."""
    defaults = {
        "accept": "*/*",
        "accept-encoding": "gzip",
        "user-agent": "playhead",
        "idempotency-key": _quoted(idempotency_key),
    }
    if url.userinfo:
        defaults["authorization"] = _basic(url.username, url.password)
    for name, value in defaults.items():
        headers.setdefault(name, value)


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _auth(value: Json) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The headers and the query that say who asks."""
    match value:
        case None:
            return [], []
        case {"type": "basic", "user": str(user), "password": str(password)}:
            return [("authorization", _basic(user, password))], []
        case {"type": "bearer", "token": str(token)}:
            return [("authorization", f"Bearer {token}")], []
        case {"type": "api_key", "place": "header", "name": str(name), "value": str(key)}:
            return [(name, key)], []
        case {"type": "api_key", "place": "query", "name": str(name), "value": str(key)}:
            return [], [(name, key)]
        case _:
            raise _failure("invalid_request", "every field of auth must be text")


def _url(value: Json, query: httpx.QueryParams) -> httpx.URL:
    """The URL with `query` behind its own query, which stays as it was written: it may be signed."""
    try:
        url = httpx.URL(value)
        host = url.host
    except (TypeError, httpx.InvalidURL, UnicodeError) as error:
        raise _failure("invalid_url", "the URL is not valid") from error
    if url.scheme not in ("http", "https") or not host:
        raise _failure("invalid_url", "the URL must begin with http:// or https:// and name a host")
    if url.port is not None and not 0 < url.port < 65536:
        raise _failure("invalid_url", "the port of the URL must be between 1 and 65535")
    if not query:
        return url
    return url.copy_with(query=b"&".join(part for part in (url.query, str(query).encode()) if part))


def _timeout_seconds(call: BlockCall) -> float:
    block: HttpBlock = call.config
    value = call.inputs.get("timeout_seconds")
    match value:
        case None:
            return block.timeout.total_seconds()
        case int() | float() if value > 0 and not isinstance(value, bool):
            return float(value)
        case _:
            raise _failure("invalid_request", "timeout_seconds must be a number above 0")


def _pairs(inputs: dict[str, Json], name: str) -> Iterator[tuple[str, str]]:
    """The names and values of headers, a query or a form. A list repeats its name, null leaves it out."""
    value = inputs.get(name)
    if not isinstance(value, dict | None):
        raise _failure("invalid_request", f"the {name} must be an object")
    for key, item in cast(dict[str, Json], value or {}).items():
        for one in cast(list[Json], item) if isinstance(item, list) else [item]:
            match one:
                case None:
                    pass
                case bool():
                    yield key, "true" if one else "false"
                case str() | int() | float():
                    yield key, str(one)
                case _:
                    raise _failure("invalid_request", f"a value in the {name} must be text, a number or a list")


def _quoted(key: str) -> str:
    """The key as a structured-field string (RFC 8941 section 3.3.3), as the Idempotency-Key draft has it."""
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _content(body: Json, headers: httpx.Headers) -> bytes | None:
    """The bytes of the body. Says in `headers` what they are, unless the author did."""
    if body is None:
        return None
    if isinstance(body, str):
        headers.setdefault("content-type", "text/plain; charset=utf-8")
        return body.encode()
    if isinstance(body, dict) and _media_type(headers) == _FORM:
        return str(httpx.QueryParams(tuple(_pairs({"form": body}, "form")))).encode()
    headers.setdefault("content-type", _JSON)
    return msgspec.json.encode(body)


async def _status_failure(response: httpx.Response) -> BlockFailure:
    status = response.status_code
    content, is_whole = await _read(response, MAX_ERROR_BODY_BYTES)
    details: dict[str, Any] = {"status": status, "headers": dict(response.headers)}
    details["body"] = _body(content, response) if is_whole else content.decode(errors="replace") + CUT
    return BlockFailure(
        BlockError(
            type="http_status",
            message=f"{response.url.host} answered {status} {_reason(response)}".strip(),
            retryable=status in _RETRYABLE_STATUSES,
            details=details,
            retry_after_seconds=retry_after_seconds(response.headers.get("retry-after")),
        )
    )


def _reason(response: httpx.Response) -> str:
    # The property of httpx leaves out what is not ASCII, and no secret would be found in the rest.
    said: bytes = response.extensions.get("reason_phrase", b"")
    return said.decode(errors="replace")


async def _read(response: httpx.Response, max_bytes: int) -> tuple[bytes, bool]:
    """The first `max_bytes` of the body, unpacked, and whether that is all of it. Reads no further than that.

    Unpacks by itself, because httpx unpacks a chunk whole: a packed kilobyte can hold a megabyte, a doubly
    packed one a gigabyte. What is packed otherwise, though only gzip was asked for, is left as it is.
    """
    unpack = zlib.decompressobj(wbits=_GZIP) if _packing(response) in _GZIP_NAMES else None
    content = bytearray()
    is_begun = False
    async for chunk in response.aiter_raw():
        is_begun = True
        try:
            content += unpack.decompress(chunk, max_bytes + 1 - len(content)) if unpack else chunk
        except zlib.error as error:
            raise httpx.RemoteProtocolError("the body is not packed as its header says") from error
        if len(content) > max_bytes:
            return bytes(content[:max_bytes]), False
    if unpack and is_begun and not unpack.eof:
        raise httpx.RemoteProtocolError("the packed body has no end")
    return bytes(content), True


def _packing(response: httpx.Response) -> str:
    return response.headers.get("content-encoding", "identity").strip().lower()


def _body(content: bytes, response: httpx.Response) -> Json:
    if not content:
        return None
    if _packing(response) not in ("identity", *_GZIP_NAMES):
        return _base64(content)
    media_type = _media_type(response.headers)
    if media_type == _JSON or media_type.endswith("+json"):
        try:
            return parse_json(content)
        except NotJson:
            return _text(content, response)
    if media_type.startswith("text/") or media_type.endswith("+xml") or media_type in _TEXTUAL:
        return _text(content, response)
    return _base64(content)


def _base64(content: bytes) -> Json:
    return {"base64": base64.b64encode(content).decode()}


def _media_type(headers: httpx.Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _text(content: bytes, response: httpx.Response) -> str:
    try:
        return content.decode(response.charset_encoding or "utf-8", errors="replace")
    except LookupError:  # a charset that nobody knows
        return content.decode(errors="replace")
