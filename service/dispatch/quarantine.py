"""Blocked images, which ended two workers, and suspected ones, which ran when a worker ended."""

from collections.abc import Callable

from service.dispatch.inputs import Input
from service.ipc.messages import MAX_DIGESTS


class Quarantine:
    """Blocked images of one model, and suspected images whose callers have left; the oldest are forgotten.

    Attributes:
        blocked: SHA-256 of each image that is refused, oldest first.
    """

    def __init__(self, on_block: Callable[[bytes], None]) -> None:
        """`on_block` is called with the SHA-256 of each image that is blocked here, for other frontends to know."""
        self.blocked: dict[bytes, None] = {}
        self._suspects: dict[bytes, None] = {}
        self._on_block = on_block

    def is_blocked(self, image: Input) -> bool:
        """Whether an image is refused."""
        return bool(self.blocked) and image.digest() in self.blocked

    def is_suspect(self, image: Input) -> bool:
        """Whether a worker ended on an image whose caller did not wait to see it run again."""
        return bool(self._suspects) and image.digest() in self._suspects

    def block(self, image: Input) -> str:
        """Refuse an image that has ended two workers; its SHA-256 in hexadecimal."""
        digest = image.digest()
        self.learn(digest)
        self._on_block(digest)
        return digest.hex()

    def learn(self, digest: bytes) -> None:
        """Refuse an image that another frontend has blocked."""
        _remember(self.blocked, digest)

    def suspect(self, image: Input) -> None:
        """Remember a suspect that will not run now, for when it comes again."""
        if not self.is_blocked(image):
            _remember(self._suspects, image.digest())

    def clear(self, image: Input) -> None:
        """Suspect an image no longer: it has run, and no worker has ended."""
        self._suspects.pop(image.digest(), None)


def _remember(digests: dict[bytes, None], digest: bytes) -> None:
    digests[digest] = None
    if len(digests) > MAX_DIGESTS:
        del digests[next(iter(digests))]
