"""The errors of a picture that cannot be used, and the translation of what decoders raise."""

from collections.abc import Iterator
from contextlib import contextmanager


class ImageError(ValueError):
    """The caller's image cannot be used. The message is one sentence that says why."""


class TooLargeError(ImageError):
    """Too many bytes or pixels: refused from the header."""


@contextmanager
def as_image_error(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into ImageError: Pillow's plugins raise a dozen kinds on hostile bytes."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ImageError(f"The {name} image is corrupt or truncated ({reason}).") from None
