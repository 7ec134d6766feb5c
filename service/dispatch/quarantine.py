"""Images that end workers: suspects, which ran when one ended, and poison, which ended two."""

import hashlib
from collections.abc import Callable

# As many digests as one packet holds, when a new frontend is told of them all.
_MAX_DIGESTS = 500


class Poison:
    """What is refused of one model's images, and what is suspected although nobody waits for it any more.

    The oldest are forgotten when there are too many.

    Attributes:
        digests: SHA-256 of each image that is refused, oldest first.
        found: called with each that is found here, where other frontends are to refuse it too.
    """

    def __init__(self) -> None:
        """Nothing is refused yet."""
        self.digests: dict[bytes, None] = {}
        self.found: Callable[[bytes], None] | None = None
        self._suspects: dict[bytes, None] = {}

    def __contains__(self, data: bytes) -> bool:
        """Whether an encoded image is refused."""
        return bool(self.digests) and _digest(data) in self.digests

    def add(self, digest: bytes) -> None:
        """Refuse an image that was found elsewhere."""
        _remember(self.digests, digest)

    def find(self, data: bytes) -> str:
        """Refuse an encoded image that was found here; its SHA-256 in hexadecimal."""
        digest = _digest(data)
        self.add(digest)
        if self.found:
            self.found(digest)
        return digest.hex()

    def suspects(self, data: bytes) -> bool:
        """Whether a worker ended on an encoded image, and its caller did not wait to see it run again."""
        return bool(self._suspects) and _digest(data) in self._suspects

    def suspect(self, data: bytes) -> None:
        """Remember a suspect for when it comes again."""
        _remember(self._suspects, _digest(data))

    def acquit(self, data: bytes) -> None:
        """A suspect has run, and no worker has ended."""
        self._suspects.pop(_digest(data), None)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _remember(digests: dict[bytes, None], digest: bytes) -> None:
    digests[digest] = None
    if len(digests) > _MAX_DIGESTS:
        del digests[next(iter(digests))]
