"""What to train on: a folder of images, one folder a class, with a held-out part."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch

from resserve.cores import usable_cores
from resserve.errors import ResServeError
from resserve.images.folder import Found, find_images, is_hidden, shown
from resserve.images.pixels import read
from training import digits
from training.layout import find_layout, subfolders

HELD_OUT = 0.2  # of each class, where the data has no held-out part of its own


class Sample(NamedTuple):
    """One image file and the index of its class."""

    path: Path
    label: int


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """Images to train on and images to judge by.

    Attributes:
        labels: the classes' names, sorted; a sample's label is an index into them.
        train: at least one sample of every class.
        held_out: at least one sample.
        description: of the held-out part, for people.
        fingerprint: SHA-256 over both parts' file names, classes and sizes in bytes, as 64 hex digits.
        mirrored: whether a picture's mirror image is as good a picture of its class.
        notes: sentences about what lies in the folder and is not used.
    """

    labels: list[str]
    train: list[Sample]
    held_out: list[Sample]
    description: str
    fingerprint: str
    mirrored: bool = True
    notes: list[str] = field(default_factory=list)


def open_data(source: str, *, seed: int) -> ImageData:
    """List the images of a folder, or of scikit-learn's digits when `source` is "digits".

    A folder holds `train/<class>/*` and `val/<class>/*` (or another name of `layout.HELD_OUT`). A folder with `train/`
    alone, or with the classes themselves, is split: a fifth of each class is held out.

    Args:
        source: path of the folder, or "digits".
        seed: of the split, where the data has none.

    Raises:
        ResServeError: no such folder, fewer than two classes, a class without images, or a held-out class that is
            not in the training part.
    """
    root = digits.materialise() if source == digits.NAME else Path(source)
    if not root.is_dir():
        raise ResServeError(f'There is no folder {shown(root)}; name a folder of images, or "{digits.NAME}".')
    layout = find_layout(root)
    found = Found()
    labels = _classes(layout.train)
    train = _samples(layout.train, labels, found)
    if layout.held_out is not None:
        _check_held_out_classes(_classes(layout.held_out, at_least=1), labels, layout.held_out)
        held_out = _samples(layout.held_out, labels, found)
        description = f"{len(held_out)} images of {shown(layout.held_out)}"
    else:
        train, held_out = split(train, classes=len(labels), seed=seed)
        description = f"{len(held_out)} images of {shown(layout.train)}, held out with seed {seed}"
    return ImageData(
        labels=labels,
        train=train,
        held_out=held_out,
        description=description,
        fingerprint=_fingerprint(root, train, held_out),
        mirrored=source != digits.NAME,
        notes=[*layout.notes, *([f"Left out: {account}."] if (account := found.account()) else [])],
    )


def split(samples: list[Sample], *, classes: int, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Hold out a fifth of each class, at least one image and never all.

    Args:
        samples: of every class.
        classes: how many there are.
        seed: of the draw.

    Returns:
        The samples to train on, and those held out.

    Raises:
        ResServeError: no class has two images.
    """
    generator = torch.Generator().manual_seed(seed)
    train: list[Sample] = []
    held_out: list[Sample] = []
    for label in range(classes):
        members = [sample for sample in samples if sample.label == label]
        order = torch.randperm(len(members), generator=generator).tolist()
        cut = min(max(1, round(len(members) * HELD_OUT)), len(members) - 1)
        held_out.extend(members[i] for i in sorted(order[:cut]))
        train.extend(members[i] for i in sorted(order[cut:]))
    if not held_out:
        raise ResServeError("Every class has a single image, which leaves none to hold out; add images.")
    return train, held_out


def check_images(samples: list[Sample]) -> Iterator[bool]:
    """Decode every image once, yielding for each whether it lacks its last bytes (and no pixel).

    Raises:
        ResServeError: at the end, when some cannot be read; it says how many, and names the first.
    """
    broken: list[str] = []
    with ThreadPoolExecutor(usable_cores()) as pool:
        for start in range(0, len(samples), 1024):  # map() alone would queue millions at once
            for outcome in pool.map(_try, samples[start : start + 1024]):
                if isinstance(outcome, str):
                    broken.append(outcome)
                yield outcome is True
    if broken:
        raise ResServeError(
            f"{len(broken)} of {len(samples)} images cannot be read; replace or remove them, first {broken[0]}."
        )


def _try(sample: Sample) -> bool | str:
    try:
        return read(sample.path)[1]
    except ResServeError as error:
        return str(error).removesuffix(".")


def _classes(folder: Path, at_least: int = 2) -> list[str]:
    names = [path.name for path in subfolders(folder)]
    for name in names:
        if shown(Path(name)) != name:
            raise ResServeError(
                f"The name of the class folder {shown(folder / name)} is not UTF-8, and a label must be; rename it."
            )
    if len(names) < at_least:
        held = f"only the class {names[0]}" if names else "no folders"
        raise ResServeError(
            f"{shown(folder)} holds {held}; training needs a folder of images for each of at least two classes."
        )
    return names


def _samples(folder: Path, labels: list[str], found: Found) -> list[Sample]:
    """The images of every class; everything else that lies there is added to `found`."""
    samples: list[Sample] = []
    for index, label in enumerate(labels):
        if not (folder / label).is_dir():
            continue
        members = find_images(folder / label)
        if not members.images:
            others = f" ({members.account()})" if members.left_out else ""
            raise ResServeError(
                f"The class folder {shown(folder / label)} holds no images{others}; add some, or remove the folder."
            )
        samples.extend(Sample(path, index) for path in members.images)
        found.add(members)
    loose = [path for path in sorted(folder.iterdir()) if not path.is_dir() and not is_hidden(path.name)]
    if loose:
        found.add(Found(left_out={"in no class folder": loose}))
    return samples


def _check_held_out_classes(held_out: list[str], labels: list[str], folder: Path) -> None:
    unknown = [name for name in held_out if name not in labels]
    if unknown:
        raise ResServeError(
            f"{shown(folder)} holds the class {unknown[0]}, which no training image has; "
            "give both parts the same classes."
        )


def _fingerprint(root: Path, train: list[Sample], held_out: list[Sample]) -> str:
    digest = hashlib.sha256()
    for part, samples in (("train", train), ("held out", held_out)):
        for path, label in samples:
            name = os.fsencode(path.relative_to(root))
            digest.update(f"{part}\0".encode() + name + f"\0{label}\0{path.stat().st_size}\n".encode())
    return digest.hexdigest()
