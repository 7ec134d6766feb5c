"""An HTTP port of a test's own."""

from collections.abc import Iterator

import pytest

from tests.support.http_port import Port


@pytest.fixture
def port() -> Iterator[Port]:
    running = Port()
    yield running
    running.close()
