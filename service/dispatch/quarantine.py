"""Suspected images, which ran when a worker ended, and blocked ones, which ended two."""

from collections.abc import Callable, Iterable

from service.dispatch.inputs import Input
from service.dispatch.job import ImageJob
from service.errors import InvalidRequestError, LostError
from service.ipc.messages import MAX_DIGESTS
from service.telemetry.logs import log

_BLOCKED = "This image has ended two workers and is not tried again."


class Quarantine:
    """Blocked images of one version, and suspected images whose callers have left; the oldest are forgotten.

    Attributes:
        blocked: SHA-256 of each image that is refused, oldest first.
    """

    def __init__(self, name: str, on_block: Callable[[bytes], None]) -> None:
        """Start with none.

        Args:
            name: the version's, for the log.
            on_block: called with the SHA-256 of each image that is blocked here, for other frontends to know.
        """
        self.blocked: dict[bytes, None] = {}
        self._name, self._on_block = name, on_block
        self._suspects: dict[bytes, None] = {}

    def check(self, image: Input) -> bool:
        """Refuse a blocked image; whether it is suspected although its last caller did not wait to see it run again.

        Raises:
            InvalidRequestError: it is blocked.
        """
        if self.is_blocked(image):
            raise InvalidRequestError(_BLOCKED)
        return bool(self._suspects) and image.digest() in self._suspects

    def is_blocked(self, image: Input) -> bool:
        """Whether an image is refused."""
        return bool(self.blocked) and image.digest() in self.blocked

    def blame(self, job: ImageJob) -> None:
        """Suspect an image that ran when its worker ended; block it where it was a suspect already."""
        if job.suspect:
            digest = job.input.digest()
            log.error("image ended two workers", model=self._name, sha256=digest.hex(), bytes=job.size)
            self.learn([digest])
            self._on_block(digest)
            job.fail(LostError(_BLOCKED))
        job.suspect = True

    def learn(self, digests: Iterable[bytes]) -> None:
        """Block images by their SHA-256, as other frontends have."""
        for digest in digests:
            _remember(self.blocked, digest)

    def remember(self, job: ImageJob) -> None:
        """Keep a suspect in mind that will not run now: it is one still when it comes again."""
        if job.suspect and not self.is_blocked(job.input):
            _remember(self._suspects, job.input.digest())

    def clear(self, job: ImageJob) -> None:
        """Suspect an image no longer: it has run, and no worker has ended."""
        self._suspects.pop(job.input.digest(), None)

    def refuse(self, jobs: Iterable[ImageJob]) -> list[ImageJob]:
        """Refuse copies of blocked images that wait: they would end two workers each. Gives those copies."""
        copies = [job for job in jobs if not job.cancelled and self.is_blocked(job.input)]
        for job in copies:
            job.fail(InvalidRequestError(_BLOCKED))
        return copies


def _remember(digests: dict[bytes, None], digest: bytes) -> None:
    digests[digest] = None
    if len(digests) > MAX_DIGESTS:
        del digests[next(iter(digests))]
