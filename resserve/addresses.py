"""Network addresses as people write them: where to listen, where to ask, and what to print."""

import ipaddress
import re
from urllib.parse import urlsplit

from resserve import DEFAULT_TARGET
from resserve.errors import InvalidInputError

_SOCKET_FILE = re.compile(r"(unix|unix-abstract|vsock):|[./~]*/", re.IGNORECASE)
_WEB_ADDRESS = re.compile(r"(https?|grpcs?|tcp)://", re.IGNORECASE)


def listening_host(text: str) -> str:
    """The host that `--host` names, IPv6 addresses without their brackets.

    Raises:
        ValueError: it is neither a name nor an address; the message says what to write.
    """
    host = text.strip()
    if _SOCKET_FILE.match(host):
        raise ValueError("Unix sockets are not offered; give a name or an address, such as 127.0.0.1 or ::")
    if host.startswith("[") and host.endswith("]") and _is_ipv6(host[1:-1]):
        return host[1:-1]
    if not host or "[" in host or (":" in host and not _is_ipv6(host)):
        raise ValueError(
            "it takes a name or an address, such as 127.0.0.1, :: or [::1]; ports are settings of their own, "
            "--port and --http-port"
        )
    return host


def join(host: str, port: int | str) -> str:
    """HOST:PORT, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def loopback(host: str) -> str:
    """A host that a client on this machine can name: 127.0.0.1 for 0.0.0.0, ::1 for ::, others as they are."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "::1" if address.version == 6 else "127.0.0.1"


def grpc_target(text: str) -> str:
    """A target as gRPC takes it: IPv6 addresses in brackets, and the usual port where none is named.

    Raises:
        InvalidInputError: it is an address of the web, or may be meant as an address, or as an address and a port.
    """
    port = DEFAULT_TARGET.rpartition(":")[2]
    if _WEB_ADDRESS.match(text):
        example = join(urlsplit(text).hostname or "127.0.0.1", port)
        raise InvalidInputError(
            f"{text} is an address of the web: name the service's gRPC port as HOST:PORT, e.g. {example}."
        )
    if _is_ipv6(text):
        head, _, tail = text.rpartition(":")
        if len(tail) > 3 and tail.isdecimal() and _is_ipv6(head):
            raise InvalidInputError(f"{text} can be read in two ways: write {join(head, tail)} or {join(text, port)}.")
        return join(text, port)
    if text.startswith("[") and text.endswith("]"):
        return f"{text}:{port}"
    if not text or ":" in text or "/" in text:  # a port is named, or it is one of gRPC's own, such as dns:///host
        return text
    return join(text, port)


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False
