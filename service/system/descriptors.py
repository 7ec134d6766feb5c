"""File descriptors: as many as the system allows, of which connections may not take all."""

import resource

# For workers and frontends that are started, for their channels, and for the HTTP port.
_RESERVED = 128
_MAX_CONNECTIONS = 2**31 - 1


def allow_most() -> None:
    """Raise the limit of this frontend, and of those it starts, as far as it may: 1,024 is usual, a million allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def for_connections() -> int:
    """How many connections gRPC may hold: without a free descriptor, no worker that ends could be replaced."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return min(_MAX_CONNECTIONS, max(limit // 2, limit - _RESERVED))
