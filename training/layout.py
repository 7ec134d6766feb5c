"""Which folders hold the images to train on, and which those to judge by."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from resserve.errors import ResServeError
from resserve.images.folder import is_hidden, shown

TRAIN = ("train", "training")
HELD_OUT = ("val", "valid", "validation", "test", "testing")
"""In the order of preference; the case of letters does not count."""


@dataclass(frozen=True)
class Layout:
    """The parts of a folder of images, each of which holds a folder for each class.

    Attributes:
        train: images to train on.
        held_out: images to judge by; None where they are to be drawn from the others.
        notes: sentences about folders that are not used.
    """

    train: Path
    held_out: Path | None
    notes: list[str] = field(default_factory=list)


def find_layout(root: Path) -> Layout:
    """Tell `train/CLASS/*` with or without `val/CLASS/*` (or another name of HELD_OUT) from `CLASS/*`.

    A folder called `train` that holds images and no folders, beside others that are no held-out part, is a class.

    Raises:
        ResServeError: a held-out part has no images to train on beside it.
    """
    folders = subfolders(root)
    trains, held_outs = _named(folders, TRAIN), _named(folders, HELD_OUT)
    others = [folder for folder in folders if folder not in (*trains, *held_outs)]
    if not trains or (others and not subfolders(trains[0])):
        lonely = [folder for folder in held_outs if subfolders(folder)]
        if lonely and len(lonely) == len(folders):
            raise ResServeError(
                f"{shown(root)} holds {_listed(lonely)} and nothing to train on; call the folder for that train/."
            )
        return Layout(root, None)
    usable = [folder for folder in held_outs if subfolders(folder)]
    held_out = usable[0] if usable else None
    unused = [folder for folder in folders if folder not in (trains[0], held_out)]
    notes = [f"Not used, beside {trains[0].name}/: {_listed(unused)}."] if unused else []
    empty = [folder for folder in held_outs if folder not in usable]
    if empty:
        notes.append(f"To be judged by, {_listed(empty)} would have to hold a folder for each class.")
    return Layout(trains[0], held_out, notes)


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones.

    Raises:
        ResServeError: it cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if not is_hidden(path.name) and path.is_dir())
    except OSError as error:
        raise ResServeError(
            f"Cannot read the folder {shown(folder)} ({error.strerror}); mend its permissions, or remove it."
        ) from None


def _named(folders: list[Path], names: tuple[str, ...]) -> list[Path]:
    """Those of these names, in the order of the names."""
    chosen = [folder for folder in folders if folder.name.lower() in names]
    return sorted(chosen, key=lambda folder: (names.index(folder.name.lower()), folder.name != folder.name.lower()))


def _listed(folders: Iterable[Path]) -> str:
    return ", ".join(f"{shown(Path(folder.name))}/" for folder in folders)
