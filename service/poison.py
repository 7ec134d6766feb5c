"""Images that ended two workers: known by their SHA-256, refused from then on."""

import hashlib
from collections.abc import Callable

# As many digests as one packet holds, when a new frontend is told of them all.
_REMEMBERED = 500


class Poison:
    """What is refused of one model's images; the oldest are forgotten when there are too many.

    Attributes:
        digests: SHA-256 of each, oldest first.
        found: called with each that is found here, where other frontends are to refuse it too.
    """

    def __init__(self) -> None:
        """Nothing is refused yet."""
        self.digests: dict[bytes, None] = {}
        self.found: Callable[[bytes], None] | None = None

    def __contains__(self, data: bytes) -> bool:
        """Whether an encoded image is refused."""
        return bool(self.digests) and hashlib.sha256(data).digest() in self.digests

    def add(self, digest: bytes) -> None:
        """Refuse an image that was found elsewhere."""
        self.digests[digest] = None
        if len(self.digests) > _REMEMBERED:
            del self.digests[next(iter(self.digests))]

    def find(self, data: bytes) -> str:
        """Refuse an encoded image that was found here; its SHA-256 in hexadecimal."""
        digest = hashlib.sha256(data)
        self.add(digest.digest())
        if self.found:
            self.found(digest.digest())
        return digest.hexdigest()
