"""Folders as people have them: nothing is left out without a word, and names do not decide what a file is."""

import os
import re
import shutil
import subprocess
from io import StringIO
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from models import load_checkpoint
from resserve.errors import ResServeError
from tests.support.encoded_images import encode, photo
from tests.support.service_process import RESSERVE
from tests.training.conftest import Painter
from training.data import ImageData, open_data
from training.summary import show_data


def told(data: ImageData) -> str:
    """What a run prints of its data."""
    out = StringIO()
    show_data(data, Console(file=out, width=200))
    return out.getvalue()


def test_counts_of_every_class_and_part_are_printed(paint: Painter) -> None:
    """A run says how many images each class has in each part, and where the held-out ones come from."""
    paint("train", blue=5, red=3)
    root = paint("val", blue=2)

    text = told(open_data(str(root), seed=0))

    assert re.search(r"blue +5 +2 *\n", text)
    assert re.search(r"red +3 +0 *\n", text)
    assert re.search(r"all 2 +8 +2 *\n", text)
    assert f"Held out: 2 images of {root}/val." in text
    assert "Classes without a held-out image: 1 (e.g. red)." in text


def test_of_many_classes_the_smallest_are_printed(paint: Painter) -> None:
    """A thousand lines tell nobody anything: of many classes the ones with the fewest images are listed."""
    root = paint(".", size=2, **{f"class{number:02}": 2 + (number != 17) for number in range(31)})

    text = told(open_data(str(root), seed=0))

    assert re.search(r"smallest classes.*\n.*\n *class17 +1 +1 *\n", text)
    assert "class30" not in text
    assert re.search(r"all 31 +61 +31 *\n", text)


@pytest.mark.parametrize("name", ["val", "valid", "validation", "test", "Val", "VALIDATION", "Testing"])
@pytest.mark.parametrize("train", ["train", "Train", "training"])
def test_names_of_the_parts(paint: Painter, train: str, name: str) -> None:
    """Every usual name of the two parts is understood, in any case of letters."""
    paint(train, blue=2, red=2)
    root = paint(name, blue=1, red=1)

    data = open_data(str(root), seed=0)

    assert data.labels == ["blue", "red"]
    assert {sample.path.parts[-3] for sample in data.held_out} == {name}
    assert data.notes == []


def test_folders_that_are_not_used_are_named(paint: Painter) -> None:
    """Of several held-out folders one is used; the others, and what else lies beside train/, are named."""
    for part in ("train", "validation", "test", "holdout"):
        root = paint(part, blue=1, red=1)

    data = open_data(str(root), seed=0)

    assert data.description == f"2 images of {root}/validation"
    assert data.notes == ["Not used, beside train/: holdout/, test/."]


def test_a_held_out_folder_without_classes_is_named(paint: Painter) -> None:
    """Pictures to be predicted, without classes, are not to be judged by: the run says so and draws its own."""
    root = paint("train", blue=5, red=5)
    (root / "test").mkdir()
    Image.new("RGB", (8, 8)).save(root / "test" / "1.png")

    data = open_data(str(root), seed=0)

    assert "held out with seed 0" in data.description
    assert "Not used, beside train/: test/." in data.notes
    assert "To be judged by, test/ would have to hold a folder for each class." in data.notes


def test_held_out_folders_alone_are_no_classes(paint: Painter) -> None:
    """test/ and val/ without train/ are not two classes called test and val."""
    paint("val", blue=1, red=1)
    root = paint("test", blue=1, red=1)

    with pytest.raises(ResServeError, match="holds val/, test/ and nothing to train on; call the folder for that tr"):
        open_data(str(root), seed=0)


@pytest.mark.parametrize("name", ["train", "test", "val"])
def test_a_class_may_be_called_like_a_part(paint: Painter, name: str) -> None:
    """A folder of trains beside one of buses is a class, whether the data has parts or not."""
    flat = open_data(str(paint(".", root="flat", bus=3, **{name: 3})), seed=0)
    parts = open_data(str(paint("train", root="parts", bus=3, **{name: 3})), seed=0)

    assert flat.labels == parts.labels == sorted(["bus", name])


def test_content_tells_what_a_picture_is(paint: Painter) -> None:
    """Pictures of unusual names are read, and a folder called x.jpg is a folder; other files are accounted for."""
    root = paint("train", blue=1, red=1)
    blue, picture = root / "train" / "blue", photo((32, 32))
    (blue / "folder.jpg").mkdir()
    names = {"a.jfif": "JPEG", "B.JPG": "JPEG", "c": "PNG", "d.dat": "WebP", "folder.jpg/e.PGM": "PPM"}
    for name, form in names.items():
        (blue / name).write_bytes(encode(picture, form))
    (blue / "f.heic").write_bytes(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic")
    (blue / "notes.txt").write_text("of 2019")
    (blue / "gone").symlink_to(blue / "nowhere")
    os.mkfifo(blue / "pipe.jpg")
    (root / "train" / "loose.png").write_bytes(encode(picture, "PNG"))

    data = open_data(str(root), seed=0)

    seen = {sample.path.relative_to(blue).as_posix() for sample in (*data.train, *data.held_out) if sample.label == 0}
    assert seen == {"0.png", *names}
    (note,) = data.notes
    assert note.startswith("Left out: ")
    for part in (
        f"1 HEIC (e.g. {blue}/f.heic)",
        f"1 of no known image format (e.g. {blue}/notes.txt)",
        f"2 special, or a link to nothing (e.g. {blue}/gone)",
        f"1 in no class folder (e.g. {root}/train/loose.png)",
    ):
        assert part in note


def test_links_to_folders_are_followed_once(paint: Painter) -> None:
    """Images behind a link to a folder are used, and a link back up is no endless loop."""
    root = paint("train", blue=1, red=1)
    more = paint("more", root="elsewhere", red=2) / "more" / "red"
    (root / "train" / "red" / "more").symlink_to(more)
    (more / "up").symlink_to(more)

    data = open_data(str(root), seed=0)

    assert sum(sample.label == 1 for sample in (*data.train, *data.held_out)) == 3
    assert "1 a link to a folder that was read" in data.notes[0]


def hide(folder: Path) -> None:
    """What macOS, Jupyter, Synology and Windows leave in a folder."""
    (folder / "._0.png").write_bytes(b"\0\5\x16\7 resource fork")
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
        (folder / name).mkdir()
        (folder / name / "0-checkpoint.png").write_bytes(b"\0\5\x16\7")


def test_hidden_files_are_ignored_everywhere(paint: Painter) -> None:
    """What the system hid is no class, no part and no picture, and is counted."""
    root = paint("train", blue=2, red=2)
    plain = open_data(str(root), seed=0)
    for folder in (root, root / "train", root / "train" / "blue"):
        hide(folder)

    data = open_data(str(root), seed=0)

    assert (data.train, data.held_out, data.fingerprint) == (plain.train, plain.held_out, plain.fingerprint)
    assert data.notes == ["Left out: 6 hidden."]


def test_a_class_whose_name_is_no_text(paint: Painter) -> None:
    """A class folder whose name is not UTF-8 cannot be a label: one sentence shows it."""
    root = paint("train", blue=2, red=2)
    shutil.copytree(root / "train" / "red", root / "train" / os.fsdecode(b"caf\xe9"))

    with pytest.raises(ResServeError, match=r"class folder .*train/caf\\xe9 is not UTF-8, and a label must be; rename"):
        open_data(str(root), seed=0)


def test_other_names_that_are_no_text_work(paint: Painter, tmp_path: Path) -> None:
    """A real run trains on a folder and files whose names are not UTF-8, and its checkpoint can be printed."""
    root = paint("train", blue=6, red=6)
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/donn\xe9es"))
    root.rename(odd)
    (odd / "train" / "blue" / "0.png").rename(odd / "train" / "blue" / os.fsdecode(b"\xe9t\xe9.png"))
    (odd / "train" / "blue" / "1.png").rename(odd / "train" / "blue" / "un_1.JFIF")
    jpeg = encode(photo((32, 32)), "JPEG")
    (odd / "train" / "blue" / "cut.jpg").write_bytes(jpeg[:-2])

    done = subprocess.run(
        [RESSERVE, "train", "resnet20", "--data", odd, "--out", tmp_path / "out", "--size", "16", "--epochs", "1"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )

    assert done.returncode == 0, done.stderr
    assert re.search(r"blue +6 +1 *\n", done.stderr)
    assert "JPEG files that lack their last bytes, but no pixel, and are used: 1." in done.stderr
    saved = load_checkpoint(tmp_path / "out" / "checkpoint.pt")
    assert saved.metrics_data == rf"2 images of {tmp_path}/donn\xe9es/train, held out with seed 0"
    assert saved.metrics_data in done.stdout
