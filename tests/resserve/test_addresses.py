"""Addresses as people write them, and as clients take them."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resserve import Client
from resserve.addresses import grpc_target, join, listening_host, loopback
from resserve.errors import ResServeError


@given(st.ip_addresses(), st.integers(0, 65535))
def test_a_printed_address_is_a_target(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    """HOST:PORT of any address is a target as it stands, and its host one to listen on, brackets included."""
    text = join(str(address), port)

    assert grpc_target(text) == text
    assert listening_host(text.rpartition(":")[0]) == str(address)
    assert ipaddress.ip_address(loopback(str(address))).is_unspecified is False


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("localhost", "localhost:8001"),
        ("10.0.0.1", "10.0.0.1:8001"),
        ("[::1]", "[::1]:8001"),
        ("::1", "[::1]:8001"),
        ("fd00::2", "[fd00::2]:8001"),
        ("[fe80::1%eth0]:9", "[fe80::1%eth0]:9"),
        ("name:9001", "name:9001"),
        ("dns:///name:9001", "dns:///name:9001"),
        ("unix:/run/proxy.sock", "unix:/run/proxy.sock"),
    ],
)
def test_targets(text: str, target: str) -> None:
    """IPv6 addresses get brackets, hosts the usual port; gRPC's own names are left as they are."""
    assert grpc_target(text) == target


def test_an_ambiguous_target_is_refused() -> None:
    """An address that could end in a port is not guessed at; the client says what to write."""
    with pytest.raises(ResServeError, match=r"^::1:8001 can be read in two ways: write \[::1\]:8001 or \[::1:8001\]:"):
        Client("::1:8001")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::0", "::1"), ("10.0.0.1", "10.0.0.1"), ("name", "name")],
)
def test_a_client_is_sent_to_an_address_it_can_use(host: str, expected: str) -> None:
    """All addresses of a machine are none that can be connected to everywhere."""
    assert loopback(host) == expected
