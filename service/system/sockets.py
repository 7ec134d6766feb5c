"""Ports, and the file descriptors that connections may take."""

import errno
import resource
import socket

from resserve.errors import ResServeError

# Descriptors for workers and frontends that are started, for the connections to them, and for the HTTP port.
_RESERVED_DESCRIPTORS = 128
_MAX_CONNECTIONS = 2**31 - 1


def raise_descriptor_limit() -> None:
    """Allow this process, and those it starts, as many descriptors as it may: 1,024 is usual, a million allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptors_for_connections() -> int:
    """Say how many connections gRPC may hold: without a free descriptor, no worker that ends could be replaced."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return min(_MAX_CONNECTIONS, max(limit // 2, limit - _RESERVED_DESCRIPTORS))


def listen(host: str, port: int) -> socket.socket:
    """The HTTP port. The kernel keeps connections waiting until something accepts them.

    Args:
        host: a name or address.
        port: 0 takes a free one.

    Raises:
        ResServeError: the port is taken, or the host is not an address of this machine.
    """
    try:
        family = _family(host)
        # :: takes IPv4 too, as it does for gRPC.
        return socket.create_server((host, port), family=family, dualstack_ipv6=_is_dual(family))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ResServeError(
                f"Port {port} on {host} is in use, perhaps by another `resserve serve`; choose one with --http-port."
            ) from None
        raise ResServeError(f"Cannot listen on {host} port {port}: {error.strerror or error}.") from None


def check_free(host: str, port: int) -> None:
    """Look whether anyone listens on a gRPC port that is about to be shared, which gRPC would not notice.

    Raises:
        ResServeError: someone does.
    """
    try:
        family = _family(host)
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if _is_dual(family):
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            probe.bind((host, port))
    except OSError:
        raise grpc_port_taken(host, port) from None


def grpc_port_taken(host: str, port: int) -> ResServeError:
    """What to say of a gRPC port that cannot be listened on."""
    return ResServeError(
        f"Port {port} on {host} cannot be listened on: it is in use, perhaps by another `resserve serve`, or "
        f"{host} is not an address of this machine; choose another with --port or --host."
    )


def _family(host: str) -> socket.AddressFamily:
    """IPv4 where a name has both, as before there was a choice.

    Raises:
        OSError: there is no such name.
    """
    families = {found[0] for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    return socket.AF_INET if socket.AF_INET in families else socket.AF_INET6


def _is_dual(family: socket.AddressFamily) -> bool:
    return family == socket.AF_INET6 and socket.has_dualstack_ipv6()
