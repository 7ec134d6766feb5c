"""The ports that are listened on."""

import socket

import pytest

from resserve.errors import ResServeError
from service.system.sockets import check_free, listen

HOSTS = [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1"), ("::", "::1"), ("localhost", "127.0.0.1")]


def needs(host: str) -> None:
    """Skip where this machine has no address of the kind."""
    try:
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        pytest.skip(f"this machine has no {host}: {error}")


@pytest.mark.parametrize(("host", "reached_at"), HOSTS)
def test_listening(host: str, reached_at: str) -> None:
    """The port is reached at the address, and :: takes IPv4 too."""
    needs(host)
    with listen(host, 0) as server, socket.create_connection((reached_at, server.getsockname()[1]), timeout=30):
        assert server.accept()[0].close() is None


@pytest.mark.parametrize(("host", "taken_at"), HOSTS)
def test_taken_ports(host: str, taken_at: str) -> None:
    """A port that is taken on one kind of address is taken, for HTTP and for a gRPC port that is to be shared."""
    needs(host)
    with socket.create_server((taken_at, 0), family=socket.AF_INET6 if ":" in taken_at else socket.AF_INET) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ResServeError, match=f"Port {port} on {host} is in use"):
            listen(host, port)
        with pytest.raises(ResServeError, match=f"Port {port} on {host} cannot be listened on"):
            check_free(host, port)
    listen(host, port).close()
    check_free(host, port)


def test_an_address_of_another_machine() -> None:
    """It is one sentence for either port."""
    with pytest.raises(ResServeError, match=r"Cannot listen on 192\.0\.2\.1 port 0: "):
        listen("192.0.2.1", 0)
    with pytest.raises(ResServeError, match=r"192\.0\.2\.1 is not an address of this machine"):
        check_free("192.0.2.1", 0)
