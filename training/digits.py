"""The embedded data set: scikit-learn's 1,797 scans of handwritten digits, as files like any other data.

They are the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, UCI, 1998).
"""

import shutil
import tempfile
from pathlib import Path

from resserve.errors import ResServeError

NAME = "digits"
FOLDER = Path("runs/digits")
HELD_OUT = 0.2


def materialise(folder: Path = FOLDER) -> Path:
    """Write the digits once as 8x8 greyscale PNG files, `{train,val}/<class>/<number>.png`; return the folder.

    Raises:
        ResServeError: scikit-learn is missing, or the files cannot be written.
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _write(partial)
            partial.chmod(0o755)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        if not folder.is_dir():  # unless another run was first
            raise ResServeError(
                f"Cannot write the digits to {folder} ({error.strerror}); free space or work in another folder."
            ) from error
    return folder


def _write(folder: Path) -> None:
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError:
        raise ResServeError(
            "The digits are part of scikit-learn, which is not installed; install resserve[train]."
        ) from None
    from PIL import Image

    data = load_digits()
    pixels = (data.images * (255 / 16)).round().astype("uint8")  # 0 to 16 in the original
    numbers = range(len(pixels))
    train, held_out = train_test_split(numbers, test_size=HELD_OUT, stratify=data.target, random_state=0)
    for part, members in (("train", train), ("val", held_out)):
        for number in members:
            target = folder / part / str(data.target[number])
            target.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[number]).save(target / f"{number:04d}.png")
