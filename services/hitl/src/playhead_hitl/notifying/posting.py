"""One request to one receiver: what came of it, and never more than that.

Connections go where the operator lets them (`playhead_runtime.addresses`), redirects are not followed, and the answer
is looked at for its status alone: whoever set the URL must not read through us what they cannot reach themselves.
"""

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Self

import httpx

from playhead_engine.notifying import Attempt
from playhead_runtime.addresses import AddressRefused, AllowedAddresses, guarded_transport
from playhead_runtime.retry_after import retry_after_seconds

_MOST_RESPONSE_BYTES = 64 * 1024
"""As much of an answer is read, and thrown away, so that its connection can be used again."""
_LIMITS = httpx.Limits(max_connections=256, max_keepalive_connections=64)


class Poster:
    """Posts. An async context manager that owns the connections."""

    def __init__(self, allowed: AllowedAddresses, timeout_seconds: float):
        # It logs every URL, and what is secret is in there.
        logging.getLogger("httpcore").setLevel(logging.WARNING)
        self._transport = guarded_transport(allowed, _LIMITS)
        self._timeout_seconds = timeout_seconds

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
        """Post once; the timeout is for the whole exchange. Whatever goes wrong outside is in what it gives."""
        try:
            request = httpx.Request("POST", url, headers=dict(headers), content=body)
        except (httpx.InvalidURL, UnicodeError):
            return Attempt(error="the URL is not valid", is_final=True)
        host = request.url.host
        try:
            async with asyncio.timeout(self._timeout_seconds) as deadline:
                response = await self._transport.handle_async_request(request)
                await _throw_away(response, deadline)
        except TimeoutError:
            return Attempt(error=f"{host} had not answered after {self._timeout_seconds:g} s")
        except AddressRefused as refused:
            return Attempt(error=str(refused), is_final=True)
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError):
            return Attempt(error="the URL is not valid", is_final=True)
        except httpx.TransportError as broken:
            return Attempt(error=f"the exchange with {host} broke: {type(broken).__name__}")
        asked = retry_after_seconds(response.headers.get("retry-after"))
        return Attempt(status=response.status_code, retry_after=None if asked is None else timedelta(seconds=asked))


async def _throw_away(response: httpx.Response, deadline: asyncio.Timeout) -> None:
    """Read what is left of an answer, if it is little. The status was the answer: nothing that follows changes it."""
    # From here on, time that runs out is no failure.
    left = deadline.when()
    deadline.reschedule(None)
    try:
        async with asyncio.timeout_at(left):
            read = 0
            # Raw: what is packed is not unpacked, for a packed kilobyte can hold a megabyte.
            async for chunk in response.aiter_raw():
                read += len(chunk)
                if read > _MOST_RESPONSE_BYTES:
                    break
    except (TimeoutError, httpx.TransportError):
        pass
    finally:
        await response.aclose()
