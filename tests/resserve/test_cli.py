"""The command line against a real gRPC service with known answers, and against repositories on disk."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

from resserve.certificate import Certificate
from resserve.cli import VERBS, main
from resserve.manifest import FileRecord, InputSpec, Manifest, write_manifest
from tests.support.colour_service import ColourService

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `resserve ARGUMENTS`: exit code, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "100")

    def run_(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["resserve", *map(str, arguments)])
        code: int | str | None = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code
        out, err = capsys.readouterr()
        # As the interpreter does at the end: a text is printed and is exit code 1.
        return (code or 0, out, err) if isinstance(code, int | None) else (1, out, f"{err}{code}\n")

    return run_


@pytest.fixture
def target(serve: Callable[..., str]) -> str:
    return serve(ColourService())


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """A red and a blue picture."""
    paths = [tmp_path / "red.png", tmp_path / "blue.png"]
    for path, colour in zip(paths, ((200, 40, 10), (0, 50, 150)), strict=True):
        Image.fromarray(np.full((4, 4, 3), colour, np.uint8)).save(path)
    return paths


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two versions of one model, the second altered after it was signed."""
    for number in (1, 2):
        directory = tmp_path / "repository" / "net" / str(number)
        directory.mkdir(parents=True)
        manifest = Manifest(
            name="net",
            version=number,
            architecture="resnet50",
            precision="fp32",
            untrained=True,
            parameters=25_557_032,
            multiply_adds=4_089_184_256,
            input=InputSpec(height=224, width=224, resize=256, mean=(0, 0, 0), std=(1, 1, 1)),
            labels=["cat", "dog"],
            files=dict.fromkeys(("model.onnx", "golden.npz"), FileRecord(sha256="0" * 64)),
            tools={},
            created="2026-01-01T00:00:00+00:00",
            certificates=[
                Certificate(engine="onnxruntime-cpu", compute="fp32", tolerance=1e-4, min_top1_agreement=1, entries=[])
            ],
        )
        write_manifest(directory, manifest)
    path = directory / "manifest.json"
    path.write_text(path.read_text().replace("resnet50", "resnet18"))
    return tmp_path / "repository"


def test_importing_resserve_is_light() -> None:
    """`import resserve` and the command line's `main` bring neither grpc nor numpy nor torch nor any room."""
    code = (
        "import sys, resserve, resserve.cli\n"
        "heavy = {'grpc', 'google.protobuf', 'numpy', 'torch', 'onnxruntime', 'pydantic', 'PIL'}\n"
        "rooms = {'models', 'training', 'export', 'service', 'bench', 'paper'}\n"
        "print(sorted((heavy | rooms) & set(sys.modules)))\n"
    )

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert out == "[]\n"


def test_the_client_and_the_service_need_no_torch() -> None:
    """The client and the service import where torch cannot be, and `import resserve` gives the client."""
    code = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'onnx', 'onnxscript'): sys.modules[name] = None\n"
        "import resserve, resserve.client, service, service.main\n"
        "assert resserve.Client is resserve.client.Client\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_classify_shows_every_photo(run: Run, target: str, photos: list[Path]) -> None:
    """Each photo is shown with its classes, most probable first, the model, the device and where the time went."""
    code, out, _ = run("classify", *photos, "--target", target, "--top", 2)

    assert code == 0
    red, blue = out.split(str(photos[1]))
    assert red.startswith(str(photos[0]))
    assert re.search(r"80\.00% .* red *\n.*16\.00% .* green *\n", red)
    assert "75.00%" in blue
    assert "colours@7, resnet50 fp32 on cpu  untrained: random weights" in out
    assert "compute 3.0 ms (batch of 1)" in out


def test_classify_as_json(run: Run, target: str, photos: list[Path]) -> None:
    """With --json, stdout is one list in the photos' order, with all that an answer says."""
    code, out, _ = run("classify", *photos, "--target", target, "--json", "--top", 1, "--model", "colours@7")

    assert code == 0
    red, blue = json.loads(out)
    assert red["photo"] == str(photos[0])
    assert red["labels"] == [{"index": 0, "name": "red", "probability": pytest.approx(0.8)}]
    assert blue["labels"][0]["name"] == "blue"
    assert blue["model"]["untrained"] is True
    assert blue["timings"]["total"] == 0.01


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_one_bad_photo_is_exit_code_1_and_the_others_are_shown(
    run: Run, target: str, photos: list[Path], form: list[str]
) -> None:
    """A missing file and a text file are said to be so in their places; the good photos are classified all the same."""
    text = photos[0].with_name("text.jpg")
    text.write_text("no picture")

    code, out, _ = run("classify", photos[0], "missing.jpg", text, photos[1], "--target", target, *form)

    assert code == 1
    order = [str(photos[0]), "missing.jpg: No such file", str(text), "This is not an image.", str(photos[1])]
    positions = [out.index(part) for part in order]
    assert positions == sorted(positions)
    assert re.search(r"80\.00%.*red", out) if not form else '"name": "red"' in out


def test_folders_and_patterns_are_classified(run: Run, target: str, photos: list[Path], tmp_path: Path) -> None:
    """A folder stands for the pictures in it, of every depth, and a quoted pattern for what it matches, in order."""
    inner = tmp_path / "in" / "deep"
    inner.mkdir(parents=True)
    for name in ("b.jfif", "a.PNG", "without", "[x].png", "._a.png"):
        (inner / name).write_bytes(photos[0].read_bytes())
    (inner / "notes.txt").write_text("none")

    code, out, err = run(
        "classify", tmp_path / "in", f"{tmp_path}/*.png", inner / "[x].png", "--json", "--target", target
    )

    assert code == 0
    expected = [inner / name for name in ("[x].png", "a.PNG", "b.jfif", "without")]
    expected += [tmp_path / "blue.png", tmp_path / "red.png", inner / "[x].png"]
    assert [answer["photo"] for answer in json.loads(out)] == [str(path) for path in expected]
    assert err == f"{tmp_path}/in: left out: 1 hidden, 1 of no known image format (e.g. {inner}/notes.txt)\n"


def test_nothing_to_classify_is_one_sentence(run: Run, target: str, tmp_path: Path) -> None:
    """A folder without pictures, and a pattern that matches nothing, are named, and nothing is sent."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".hidden.png").touch()

    assert run("classify", tmp_path / "empty", "--target", target)[2] == (
        f"resserve: {tmp_path}/empty holds no images (left out: 1 hidden); name another folder.\n"
    )
    assert run("classify", f"{tmp_path}/*.gif", "--target", target)[2] == (
        f"resserve: No file matches {tmp_path}/*.gif; name files or a folder.\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["classify"],
        ["classify", "a.jpg", "--top", "0"],
        ["classify", "-", "-"],
        ["classify", "a.jpg", "--model", "net@newest"],
        ["models", "--target", "127.0.0.1:1", "--repository", "weights"],
        ["serve", "--port", "70000"],
        ["serve", "--device", "tpu"],
        ["fly"],
    ],
)
def test_wrong_usage_is_exit_code_2(run: Run, arguments: list[str]) -> None:
    """What cannot be meant is refused with the usage, before anything is done."""
    code, out, err = run(*arguments)

    assert (code, out) == (2, "")
    assert "Usage: resserve" in err


@pytest.mark.parametrize("verb", [["models"], ["classify", "red.png"]])
def test_no_service_is_one_sentence(
    run: Run, verb: list[str], photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a service, the one line on stderr says how to start it, and the exit code is 1."""
    monkeypatch.chdir(photos[0].parent)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        target = f"127.0.0.1:{closed.getsockname()[1]}"

    code, out, err = run(*verb, "--target", target)

    assert (code, out) == (1, "")
    assert (
        err
        == f"resserve: Cannot reach a service at {target}: start it with `resserve serve`, or name another target.\n"
    )


def test_an_error_of_the_service_is_one_sentence(run: Run, serve: Callable[..., str]) -> None:
    """What the service answers to a failed call is printed as it is."""
    service = ColourService()
    service.failures.append((grpc.StatusCode.INTERNAL, "Internal error 1f3a; the log has more."))

    code, out, err = run("models", "--target", serve(service))

    assert (code, out, err) == (1, "", "resserve: Internal error 1f3a; the log has more.\n")


def test_models_of_a_service(run: Run, target: str) -> None:
    """States, figures, device and plan are shown, an untrained model is marked, and a failed one has its reason."""
    code, out, _ = run("models", "--target", target)

    assert code == 0
    for part in ("colours@7", "ready", "resnet50 fp32", "224x200", "25.6 M", "4.09 G", "untrained"):
        assert part in out
    assert "runs on cpu (CPUExecutionProvider): 2 lanes of 1 thread" in out
    assert "broken@3: model.onnx was altered" in out
    ready, failed = json.loads(run("models", "--target", target, "--json")[1])
    assert (ready["parameters"], ready["metrics"], ready["classes"]) == (25_557_032, {"top1": 0.75}, 3)
    assert (failed["name"], failed["version"], failed["state"]) == ("broken", 3, "failed")


def test_models_of_a_repository(run: Run, repository: Path) -> None:
    """Without a service, every version of the repository is listed; one that was altered is broken and says why."""
    code, out, _ = run("models", "--repository", repository)
    rows = json.loads(run("models", "--repository", repository, "--json")[1])

    assert code == 0
    assert "untrained" in out
    assert "net@2: " in out
    assert [(row["version"], row["state"]) for row in rows] == [(1, "whole"), (2, "broken")]
    assert (rows[0]["architecture"], rows[0]["multiply_adds"]) == ("resnet50", 4_089_184_256)
    assert "was altered" in rows[1]["reason"]


def test_no_repository_is_one_sentence(run: Run, tmp_path: Path) -> None:
    """A folder that is not there is said to be missing."""
    code, _, err = run("models", "--repository", tmp_path / "nowhere")

    assert code == 1
    assert "There is no model repository" in err


def test_doctor_finds_what_is_broken(run: Run, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The altered version is a problem and makes the exit code 1; a taken port is a note; the rest is stated."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("RESSERVE_PORT", str(taken.getsockname()[1]))
        monkeypatch.setenv("RESSERVE_HTTP_PORT", "0")
        code, out, _ = run("doctor", "--repository", repository, "--json")

    assert code == 1
    findings = {finding["subject"]: finding for finding in json.loads(out)}
    assert [subject for subject, finding in findings.items() if finding["state"] == "problem"] == ["net@2"]
    assert findings["gRPC port"]["state"] == "note"
    assert findings["HTTP port"]["state"] == "ok"
    assert "CPUExecutionProvider" in findings["onnxruntime"]["detail"]
    assert "1 models, 1 whole versions, 1 of them untrained" in findings["repository"]["detail"]


def test_doctor_is_content_without_problems(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty machine is no problem: exit code 0, and the table says what to do next."""
    monkeypatch.setenv("RESSERVE_PORT", "0")
    monkeypatch.setenv("RESSERVE_HTTP_PORT", "0")
    code, out, _ = run("doctor", "--repository", tmp_path)

    assert code == 0
    assert "resserve export" in out


def test_a_missing_extra_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A verb whose room needs an extra that is not installed says which one to install."""
    for module in [name for name in sys.modules if name.partition(".")[0] == "export"]:
        monkeypatch.delitem(sys.modules, module)  # other tests may have loaded the room
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    code, _, err = run("export", "resnet18", "--untrained", "--name", "net", "--repository", tmp_path / "w")

    assert code == 1
    assert err.startswith("resserve: This needs onnxruntime, which is not installed: run `pip install 'resserve[cpu]'`")


def test_every_verb_explains_itself(run: Run) -> None:
    """`resserve --help` names every verb, and each verb's help opens with the same sentence."""
    code, out, _ = run("--help")

    assert code == 0
    for verb, sentence in VERBS.items():
        assert verb in out
        assert sentence in run(verb, "--help")[1]


def test_version(run: Run) -> None:
    """`resserve --version` prints the version that is installed."""
    from importlib.metadata import version

    assert run("--version") == (0, f"resserve {version('resserve')}\n", "")
