"""Which addresses are of the public internet, however they are written."""

import ipaddress
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# An IPv6 address of this network stands for the IPv4 address in its last 32 bits (RFC 6052).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def address_of(host: str) -> Address | None:
    """The address that a host is written as; None if it is a name."""
    try:
        # This one takes every spelling that a client takes: decimal, octal, hexadecimal, short.
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        pass
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """Whether it, and each address that it stands for, is of the public internet."""
    return all(each.is_global and not each.is_multicast for each in _stands_for(address))


def _stands_for(address: Address) -> list[Address]:
    """The address, and the IPv4 addresses embedded in it to which a packet may be forwarded."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    found: list[Address] = [each for each in inner if each is not None]
    # Python calls the network of mapped addresses private, whatever they stand for.
    return found if address.ipv4_mapped else [address, *found]
