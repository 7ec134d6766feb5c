"""The pictures under a folder, and an account of everything else that lies there."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from resserve.errors import ResServeError
from resserve.images.errors import ImageError
from resserve.images.foreign import describe
from resserve.images.formats import identify

# Files of these names are pictures, or broken ones; of others the content tells.
_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
)
# Left behind by macOS in archives, by Synology's file server and by Windows.
_SYSTEM = frozenset({"__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"})
_START = 1024  # bytes that tell a format


@dataclass
class Found:
    """What lies under a folder, in every depth.

    Attributes:
        images: sorted.
        left_out: the rest, by the reason that it is no picture to use.
    """

    images: list[Path] = field(default_factory=list)
    left_out: dict[str, list[Path]] = field(default_factory=dict)

    def add(self, other: "Found") -> None:
        """Take over what was found elsewhere."""
        self.images.extend(other.images)
        for reason, paths in other.left_out.items():
            self.left_out.setdefault(reason, []).extend(paths)

    def account(self) -> str:
        """What was left out, as a list for people, with an example each; empty where nothing was."""
        return ", ".join(
            f"{len(paths):,} {reason}" + ("" if reason == _HIDDEN else f" (e.g. {shown(paths[0])})")
            for reason, paths in self.left_out.items()
        )


_HIDDEN = "hidden"
_NO_FILE = "special, or a link to nothing"
_SEEN = "a link to a folder that was read"


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the user's: `.DS_Store`, `._photo.jpg`, `.ipynb_checkpoints`, `__MACOSX`."""
    return name.startswith(".") or name in _SYSTEM


def shown(path: Path) -> str:
    """A path as text that can be printed and stored, also where its bytes are not UTF-8."""
    return os.fsencode(path).decode(errors="backslashreplace")


def find_images(folder: Path) -> Found:
    """Look for pictures in a folder, in every depth, following links; hidden files and folders are left out.

    Raises:
        ResServeError: a folder cannot be read.
    """
    found = Found()
    _search(folder, found, set())
    found.images.sort()
    return found


def _search(folder: Path, found: Found, seen: set[tuple[int, int]]) -> None:
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise ResServeError(
            f"Cannot read the folder {shown(folder)} ({error.strerror}); mend its permissions, or remove it."
        ) from None
    for entry in listed:
        path = Path(entry.path)
        reason: str | None = None
        if is_hidden(entry.name):
            reason = _HIDDEN
        elif entry.is_dir():
            status = entry.stat()
            if (status.st_dev, status.st_ino) in seen:
                reason = _SEEN
            else:
                seen.add((status.st_dev, status.st_ino))
                _search(path, found, seen)
                continue
        elif not entry.is_file():
            reason = _NO_FILE
        elif path.suffix.lower() not in _SUFFIXES:
            reason = _why_no_picture(path)
        if reason is None:
            found.images.append(path)
        else:
            found.left_out.setdefault(reason, []).append(path)


def _why_no_picture(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            start = file.read(_START)
    except OSError as error:
        return f"unreadable ({error.strerror})"
    try:
        identify(start)
    except ImageError:
        # "is HEIC", "is compressed by gzip; send …"
        known = describe(start).partition(";")[0].removeprefix("is ")
        return "of no known image format" if known.startswith("has ") else known
    return None
