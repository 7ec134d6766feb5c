"""The header check of `resserve.images`, under the name that the service's rooms import."""

from resserve.images.errors import ImageError, TooLargeError
from resserve.images.header import MAX_BYTES, MAX_PIXELS, Header, check

__all__ = ["MAX_BYTES", "MAX_PIXELS", "Header", "ImageError", "TooLargeError", "check"]
