"""Which addresses a download may connect to: public ones, looked at when the socket is made.

Whatever a URL, a redirect or a name server says, a connection begins with a socket for one address. That is the one
place to look: names that resolve to a private address, decimal and hexadecimal forms, and IPv4 inside IPv6 all come
by there.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

_EMBEDS_IPV4 = [ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "::/96")]
"""Ranges whose last 32 bits are an IPv4 address: translation (RFC 6052) and the old compatible form (RFC 4291)."""


class PrivateAddressError(OSError):
    """The address is not public; `address` is what was about to be connected to."""

    def __init__(self, address: str) -> None:
        super().__init__("the address is not public")  # the same for all of a host's addresses, or asyncio merges them
        self.address = address


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the internet's: not private, loopback, link-local, multicast, reserved."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is None and any(found in network for network in _EMBEDS_IPV4):
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if found.is_site_local:
            return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def public_socket(address_info: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
    """Make the socket of a connection. Raises: PrivateAddressError."""
    family, kind, protocol, _, address = address_info
    if not is_public(address[0]):
        raise PrivateAddressError(address[0])
    return socket.socket(family, kind, protocol)
