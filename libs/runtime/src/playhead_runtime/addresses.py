"""Which addresses requests to the outside may reach: public ones, and what the operator allows besides.

Tenants choose URLs, of `http` blocks and of webhooks, and our services stand inside the operator's network: without
this, a document could read cloud metadata or talk to what trusts its neighbours (OWASP: Server-Side Request Forgery).
The check is made where the connection is, on the very address that is then connected to: a name that resolves to
another address a moment later (DNS rebinding) gains nothing. IPv6 forms that carry an IPv4 address (mapped, 6to4,
Teredo, NAT64) are judged by what they carry.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, cast

import httpcore
import httpx

from playhead_contracts.errors import PlayheadError

PRIVATE = "private"
"""In the operator's list: every address that is not public."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
"""All that IANA gives out as global unicast; the rest is for special purposes, such as the old site-local addresses."""
_NOT_PUBLIC: tuple[_Network, ...] = tuple(
    # What not every release of Python knows of the registries of special addresses (RFC 6890).
    ipaddress.ip_network(network)
    for network in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "3fff::/20")
)

_NAME = re.compile(r"[\w-]+(\.[\w-]+)*\.?")
_NEXT_AFTER_SECONDS = 3.0
"""How long one of several addresses of a host may take to connect, so that a dead one does not use up the time."""


class AddressRefused(PlayheadError):
    """The host is, or resolves to, an address that may not be reached."""


class BadAddressRule(PlayheadError):
    """An entry of the operator's list that is no host name, address, range or `private`."""


class AllowedAddresses:
    """What the operator allows besides public addresses: host names, addresses, ranges (CIDR), or `private`.

    `variable` is the setting that the rules are from, for messages. Raises BadAddressRule.
    """

    def __init__(self, rules: Iterable[str] = (), variable: str = "PLAYHEAD_HTTP_ALLOW"):
        self.variable = variable
        self._names: set[str] = set()
        self._networks: list[_Network] = []
        self._all = False
        for rule in rules:
            if rule == PRIVATE:
                self._all = True
            elif "/" in rule or _as_address(rule) is not None:
                try:
                    self._networks.append(ipaddress.ip_network(rule))
                except ValueError as wrong:
                    raise BadAddressRule(f"{variable}: {rule!r} is no range of addresses: {wrong}") from wrong
            else:
                self._names.add(_name(rule, variable))

    def allows(self, host: str, address: _Address) -> bool:
        """Whether a connection to `host` may go to `address`, which it resolved to."""
        if self._all or host.lower().rstrip(".") in self._names:
            return True
        carried = _carried(address)
        if any(each in network for network in self._networks for each in (address, carried)):
            return True
        return _is_public(carried)


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to allowed addresses alone. Raises AddressRefused."""

    def __init__(self, allowed: AllowedAddresses):
        self._allowed = allowed
        self._unguarded: httpcore.AsyncNetworkBackend = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of httpcore
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await _resolved(host, port)
        reachable = [each for each in addresses if self._allowed.allows(host, each)]
        if not reachable:
            raise AddressRefused(
                f"{host} is not a public address; an operator can allow it with {self._allowed.variable}"
            )
        # One after the other, in the order of the resolver, as a client without the guard would.
        for address in reachable[:-1]:
            try:
                return await self._unguarded.connect_tcp(
                    str(address), port, _NEXT_AFTER_SECONDS, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._unguarded.connect_tcp(str(reachable[-1]), port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of httpcore
        socket_options: Any = None,
    ) -> httpcore.AsyncNetworkStream:
        raise AddressRefused("nothing here talks to sockets of its machine")

    async def sleep(self, seconds: float) -> None:
        await self._unguarded.sleep(seconds)


def guarded_transport(allowed: AllowedAddresses, limits: httpx.Limits) -> httpx.AsyncHTTPTransport:
    """A transport whose every connection is checked. TLS is still verified against the name in the URL."""
    transport = httpx.AsyncHTTPTransport(trust_env=False, limits=limits)
    # httpx has no parameter for it; its pool has (https://www.encode.io/httpcore/network-backends/).
    pool: Any = transport._pool  # pyright: ignore[reportPrivateUsage]
    # Were it named otherwise one day, setting it would do nothing, and nothing would be guarded.
    if not isinstance(pool._network_backend, httpcore.AsyncNetworkBackend):
        raise TypeError("this release of httpcore keeps its network backend elsewhere")
    pool._network_backend = GuardedBackend(allowed)
    return transport


async def _resolved(host: str, port: int) -> list[_Address]:
    literal = _as_address(host)
    if literal is not None:
        return [literal]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as unknown:  # the second for labels that are empty or too long
        raise httpcore.ConnectError(f"{host} does not resolve") from unknown
    texts = dict.fromkeys(str(sockaddr[0]).partition("%")[0] for *_, sockaddr in found)
    return [ipaddress.ip_address(text) for text in texts]


def _name(rule: str, variable: str) -> str:
    """A host name as connections have it: in lower case, in ASCII, without the dot at the end."""
    if _NAME.fullmatch(rule):
        with suppress(httpx.InvalidURL, UnicodeError):
            return httpx.URL(f"http://{rule}/").raw_host.decode().lower().rstrip(".")
    raise BadAddressRule(f"{variable}: {rule!r} is no host name, address or range, and not {PRIVATE!r}")


def _is_public(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address not in _PUBLIC_V6:
        return False
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _as_address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _carried(address: _Address) -> _Address:
    """The IPv4 address inside of an IPv6 one, if there is one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
