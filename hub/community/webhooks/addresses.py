"""Where a delivery may go. The name is looked up here, once; every address it leads to is judged; and the connection is
made to the judged address itself (posting.py), so that a name cannot lead elsewhere a moment later.

Nothing but public addresses is reached, unless the operator names a network in WEBHOOK_ALLOWED_NETWORKS."""

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from django.conf import settings

from hub.common.errors import InvalidInput

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
MAX_URL_CHARACTERS = 2000
MAX_ADDRESSES = 4  # of one name, tried one after another
HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?\.?")
PORTS = {"http": 80, "https": 443}
SAFE_IN_PATH = "/%:=&?~+!$,;'@()*[]-._|"
# What the library counts as public, or has counted in one of its versions, and is not for strangers.
REFUSED = [
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8 100.64.0.0/10 168.63.129.16/32 192.0.0.0/24 192.88.99.0/24 198.18.0.0/15 240.0.0.0/4 "  # 168...: Azure's own
        "::/96 64:ff9b:1::/48 100::/64 2001::/23 2001:db8::/32 3fff::/20 5f00::/16 fc00::/7 fec0::/10"
    ).split()
]
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class NotReachable(Exception):
    """One sentence for the owner. It is the same for names that are unknown and for those that lead inside."""


@dataclass(frozen=True)
class Target:
    """A checked URL. `host` is what the certificate and the Host header name; an address literal has no brackets."""

    scheme: str
    host: str
    port: int
    path: str  # with the query


def read_url(text: str) -> Target:
    """Raises InvalidInput for what no delivery could or may ever go to. Nothing is looked up."""
    if len(text) > MAX_URL_CHARACTERS:
        raise InvalidInput(f"The URL has {len(text):,} characters; at most {MAX_URL_CHARACTERS:,} are taken.")
    if not text.isprintable() or " " in text or "\\" in text:
        raise InvalidInput(
            "The URL holds a space, an unprintable character or a backslash; write it as a program would."
        )
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as problem:
        raise InvalidInput(f"The URL cannot be read ({problem}); write https://example.org/hook.") from None
    if parts.scheme not in PORTS:
        raise InvalidInput("The URL must begin with https:// or http://; write https://example.org/hook.")
    if "@" in parts.netloc:
        raise InvalidInput("The URL holds a name or a password; take them out and use the secret instead.")
    if port == 0:
        raise InvalidInput("The URL names port 0, which nothing listens to; write a port from 1 to 65535.")
    path = quote(parts.path or "/", safe=SAFE_IN_PATH)
    query = f"?{quote(parts.query, safe=SAFE_IN_PATH)}" if parts.query else ""
    target = Target(parts.scheme, plain_host(host), port or PORTS[parts.scheme], path + query)
    literal = read_literal(target.host)
    name = target.host.rstrip(".")
    if literal is not None:
        check_is_public(literal)
    elif (name == "localhost" or name.endswith((".localhost", ".local", ".internal"))) and not allowed_networks():
        raise InvalidInput(f"{target.host} is a name of the hub's own machine or network; give a public address.")
    return target


def plain_host(host: str) -> str:
    """In the letters that name servers use. Raises InvalidInput."""
    if ":" in host:
        try:
            literal = ipaddress.IPv6Address(host)
        except ValueError:
            raise InvalidInput(f"{host[:60]!r} is no address; write https://example.org/hook.") from None
        if literal.scope_id:
            raise InvalidInput("The address names a network card of the hub ('%'); give a public address.")
        return str(literal)
    try:
        ascii_host = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        ascii_host = ""
    if not HOST.fullmatch(ascii_host.lower()):
        raise InvalidInput(f"{host[:60]!r} is no name of a host; write https://example.org/hook.")
    return ascii_host.lower()


def read_literal(host: str) -> IP | None:
    """The address that is written out, also as one number, in octal or in hexadecimal: the system reads those as well."""
    if ":" in host:
        return ipaddress.IPv6Address(host)
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host.rstrip(".")))
    except OSError:
        return None


def check_is_public(address: IP) -> None:
    if not may_reach(address):
        raise InvalidInput(
            "The URL leads to an address that is not public, which webhooks may not reach; give a public one, or ask "
            "the operator of this hub to allow the network."
        )


def may_reach(address: IP) -> bool:
    """Whether the address, and any address that it carries within it, is public or in a network that the operator allows."""
    inner = carried(address)
    if inner is not None:
        return may_reach(inner)
    if any(address in network for network in allowed_networks() if network.version == address.version):
        return True
    if any(address in network for network in REFUSED if network.version == address.version):
        return False
    return address.is_global and not (
        address.is_multicast
        or address.is_reserved
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
    )


def carried(address: IP) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for: mapped, 6to4, or through a translator."""
    if address.version == 4:
        return None
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def allowed_networks() -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return settings.WEBHOOK_ALLOWED_NETWORKS


def look_up(target: Target) -> list[tuple[int, Any]]:
    """(family, socket address) of the target, to be connected to as they are. Raises NotReachable when the name is unknown
    or when a single one of its addresses is not public: an honest name has no reason to mix them."""
    refusal = NotReachable(f"{target.host} does not lead to a public address, which is all that webhooks may reach.")
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError):
        raise refusal from None
    places = [(family, place) for family, _, _, _, place in found if family in (socket.AF_INET, socket.AF_INET6)]
    if not places or not all(may_reach(ipaddress.ip_address(place[0])) for _, place in places):
        raise refusal
    return places[:MAX_ADDRESSES]
