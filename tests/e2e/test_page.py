"""The page in real headless Chromium, against a real service."""

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from resserve.client import Client
from tests.support.browser import CHROMEDRIVER, CHROMIUM, Browser
from tests.support.digits import digit, held_out
from tests.support.service_process import RESSERVE, Server

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason="needs Debian's chromium and chromium-driver, which are not installed"
)

ANSWERED = "return document.querySelectorAll('article.ready ol').length === 2"


@pytest.fixture(scope="module")
def server(repository: Path, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves `digits`, which answers rightly, `alpha`, which is untrained, and refuses `moved`, a renamed version."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(digits / "digits", folder / "weights" / "digits")
    shutil.copytree(repository / "alpha", folder / "weights" / "alpha")
    shutil.copytree(repository / "alpha", folder / "weights" / "moved")
    running = Server(folder / "weights", folder)
    yield running
    running.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    running = Browser()
    yield running
    running.driver.quit()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Browser]:
    """The page, fresh. Afterwards it must have complained of nothing and asked nobody else."""
    browser.open(server.http)
    yield browser
    assert browser.console() == []
    requests = browser.requests()
    assert len(requests) > 5
    assert [url for url in requests if not url.removeprefix("blob:").startswith(f"{server.http}/")] == []


@pytest.fixture
def seven(tmp_path: Path) -> Path:
    """A scan of a seven that `digits` was not fitted on."""
    path = tmp_path / "a seven.png"
    digit(held_out(7)).save(path)
    return path


@pytest.mark.parametrize("way", ["drop", "paste", "pick"])
def test_every_model_answers_a_picture(page: Browser, server: Server, seven: Path, way: str) -> None:
    """A picture that is dropped, pasted or picked is answered by each ready model, as it answers over gRPC."""
    getattr(page, way)(seven)
    page.wait(lambda: page.run(ANSWERED), "every ready model has answered")

    assert page.text("[data-model=digits] .label") == "digit 7"
    assert "digit 7" in page.text("#announcer")
    with Client(server.address) as client:
        for model in ("digits", "alpha"):
            expected = client.classify(seven, model=model).labels
            shown = page.texts(f"#cards [data-model={model}] .answer .number")
            assert page.texts(f"#cards [data-model={model}] .label") == [label.name for label in expected]
            assert [float(text.removesuffix(" %")) for text in shown] == pytest.approx(
                [100 * label.probability for label in expected], abs=0.06
            )


def test_latency_is_split_in_its_stages(page: Browser, seven: Path) -> None:
    """Each answer's stacked bar has the four stages, and the widest bar's parts fill it."""
    page.pick(seven)
    page.wait(lambda: page.run(ANSWERED), "every ready model has answered")

    widths = page.run(
        "return [...document.querySelectorAll('.stages')].map((bar) => "
        "[...bar.children].map((part) => parseFloat(part.style.width)))"
    )
    assert [len(parts) for parts in widths] == [4, 4]
    assert max(sum(parts) for parts in widths) == pytest.approx(100, abs=1)
    for spoken in page.run("return [...document.querySelectorAll('.stages')].map((bar) => bar.ariaLabel)"):
        assert re.fullmatch(r"decode \S+ .s, queue \S+ .s, compute \S+ .s, respond \S+ .s", spoken)


def test_models_say_what_they_are(page: Browser) -> None:
    """Cards carry state, cost, precision, device and accuracy; what is untrained or failed is marked, with why."""
    assert page.texts("#cards [data-model=digits] .pill") == ["ready"]
    assert page.texts("#cards [data-model=alpha] .pill") == ["untrained", "ready"]
    assert page.texts("#cards [data-model=moved] .pill") == ["failed"]
    assert "cannot be moved or renamed" in page.text("#cards [data-model=moved] .reason")
    assert page.text("#service-state") == "2 ready, 1 not"
    facts = dict(zip(page.texts("[data-model=digits] dt"), page.texts("[data-model=digits] dd"), strict=True))
    assert facts["parameters"] == "270 k"
    assert facts["multiply-adds"] == "10.1 M"
    assert (facts["precision"], facts["device"], facts["input"]) == ("fp32", "cpu · CPU", "16 × 16")
    assert re.fullmatch(r"8\d\.\d % · digits", facts["top-1"])


def test_a_broken_picture_is_explained(browser: Browser, server: Server, seven: Path, tmp_path: Path) -> None:
    """A file that is no picture, or half of one, gets one sentence with its name, and the next picture is answered."""
    browser.open(server.http)
    text = tmp_path / "notes.png"
    text.write_text("This is not a picture.")
    browser.drop(text)
    browser.wait(lambda: browser.text("#message"), "the broken picture is explained")

    assert re.fullmatch(r"notes\.png: [A-Z].*\.", browser.text("#message"))
    assert browser.one("#message").get_attribute("role") == "alert"
    assert not browser.one("#preview").is_displayed()
    assert browser.texts("article.ready .answer") == ["No picture yet."] * 2

    browser.drop(seven)
    browser.wait(lambda: browser.run(ANSWERED), "the next picture is answered")
    assert browser.text("#message") == ""
    # The refusal itself is a line of the browser's network log; nothing else may be in the console.
    assert [line for line in browser.console() if "/api/classify" not in line] == []


def test_a_huge_file_is_not_even_sent(page: Browser, tmp_path: Path) -> None:
    """More than 20 MiB is refused on the page, in a sentence."""
    huge = tmp_path / "huge.png"
    huge.write_bytes(bytes(21 * 2**20))
    page.pick(huge)
    page.wait(lambda: page.text("#message"), "the huge file is explained")

    assert page.text("#message") == "huge.png has 21.0 MiB; the service reads pictures up to 20 MiB."


def test_charts_move_under_load(page: Browser, server: Server, seven: Path) -> None:
    """Other callers' requests show as rates, quantiles, ratios to the chosen baseline, and growing lines."""
    stop = threading.Event()

    def load() -> None:
        with Client(server.address) as client:
            while not stop.is_set():
                client.classify(seven, model="alpha")
                client.classify(seven, model="digits")

    def line() -> str:
        return str(page.run("return document.querySelector('#live [data-model=digits] path.p95').getAttribute('d')"))

    page.run("const s = document.getElementById('baseline'); s.value = 'alpha'; s.dispatchEvent(new Event('change'))")
    caller = threading.Thread(target=load)
    caller.start()
    try:
        page.wait(lambda: line().count("L") >= 2, "the chart has a line")
        before = line()
        page.wait(lambda: line().count("L") > before.count("L"), "the line grows")
        cells = page.texts("#live [data-model=digits] td.number")
        reference = page.texts("#live [data-model=alpha] td.number small")
    finally:
        stop.set()
        caller.join()
    assert float(cells[0]) > 0
    for cell in cells[1:]:
        assert re.fullmatch(r"[\d.]+ (µs|ms|s)[\d.]+×", cell), cell
    assert reference == ["", "1.00×", "1.00×", "1.00×"] or reference == ["1.00×"] * 3


def test_quantiles_are_those_of_prometheus(page: Browser) -> None:
    """The page's quantiles of two scrapes equal histogram_quantile's of their difference, also over a restart."""
    before = [("a", "OK", [5, 5, 5]), ("a", "RESOURCE_EXHAUSTED", [0, 0, 9])]
    after = [("a", "OK", [20, 35, 35]), ("a", "RESOURCE_EXHAUSTED", [0, 0, 99]), ("b", "OK", [0, 0, 4])]
    got = page.run_module(
        "const { History } = await import('/exposition.js');"
        "const history = new History(60);"
        "history.add(arguments[0], 100); history.add(arguments[1], 110);"
        "const first = [history.recent('a', 15), history.recent('b', 15)];"
        "history.add(arguments[0], 120);"
        "return [...first, history.recent('a', 15)]",
        _exposition(before),
        _exposition(after),
    )

    # Half of the 30 within 20 ms, the others evenly up to 30 ms; the same as in dashboards/rules/tests.yml.
    assert got[0] == pytest.approx({"rate": 3, "p50": 0.02, "p95": 0.029, "p99": 0.0298})
    # What lies in the infinite bucket is said to be at the highest bound.
    assert got[1] == pytest.approx({"rate": 0.4, "p50": 0.03, "p95": 0.03, "p99": 0.03})
    assert got[2] == {"rate": 0, "p50": None, "p95": None, "p99": None}


def _exposition(series: list[tuple[str, str, list[int]]]) -> str:
    return "\n".join(
        f'resserve_request_seconds_bucket{{code="{code}",le="{bound}",model="{model}"}} {count}.0'
        for model, code, counts in series
        for bound, count in zip(("0.02", "0.03", "+Inf"), counts, strict=True)
    )


def test_the_call_can_be_copied_and_works(page: Browser, seven: Path) -> None:
    """The command and the snippet name the picture, the model and this service; copied and run, they answer."""
    page.pick(seven)
    page.wait(lambda: page.run(ANSWERED), "every ready model has answered")
    page.run(
        "const s = document.getElementById('call-model'); s.value = 'digits'; s.dispatchEvent(new Event('change'))"
    )
    origin = page.run("return location.origin")
    page.devtools("Browser.grantPermissions", origin=origin, permissions=["clipboardReadWrite"])
    copied = []
    for source in ("command", "snippet"):
        page.one(f"[data-copies={source}]").click()
        page.wait(lambda source=source: page.text(f"[data-copies={source}]") == "Copied", "the button says it")
        copied.append(page.run_module("return await navigator.clipboard.readText()"))

    assert copied == [page.text("#command"), page.text("#snippet")]
    path = f"PATH={RESSERVE.parent}:$PATH; "
    shell = subprocess.run(
        ["bash", "-c", path + copied[0]], cwd=seven.parent, capture_output=True, text=True, timeout=60
    )
    python = subprocess.run(
        [sys.executable, "-c", copied[1]], cwd=seven.parent, capture_output=True, text=True, timeout=60
    )
    assert (shell.returncode, shell.stderr) == (0, "")
    assert "digit 7" in shell.stdout
    assert python.stdout.startswith("digit 7: "), python.stderr


def test_a_service_that_is_away_is_met_again(browser: Browser, server: Server) -> None:
    """While the service cannot be reached the page says so, and goes on when it is back."""
    browser.open(server.http)
    browser.devtools("Network.enable")
    offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.devtools("Network.emulateNetworkConditions", offline=True, **offline)
    browser.wait(lambda: browser.text("#service-state") == "not answering", "the page says it")
    browser.devtools("Network.emulateNetworkConditions", offline=False, **offline)
    browser.wait(lambda: browser.text("#service-state") == "2 ready, 1 not", "the page goes on")


def test_keep_asking_until_told_to_stop(page: Browser, server: Server, seven: Path) -> None:
    """The toggle, pressed with the keyboard, asks again and again, and stops when it is pressed again."""
    page.pick(seven)
    page.wait(lambda: page.one("#keep").is_enabled(), "there is a picture to ask for")
    before = server.metric("resserve_images_total", model="digits")
    page.one("#keep").send_keys(" ")
    page.wait(lambda: server.metric("resserve_images_total", model="digits") > before + 3, "it asks again")
    page.one("#keep").send_keys(" ")

    assert page.one("#keep").get_attribute("aria-pressed") == "false"


def test_everything_has_a_name_and_can_be_reached(page: Browser, seven: Path) -> None:
    """Every control is reached with Tab alone and has a name; every picture and chart has a text."""
    page.pick(seven)
    page.wait(lambda: page.one("#keep").is_enabled(), "there is a picture to ask for")
    page.run("document.activeElement.blur()")
    reached = []
    for _ in range(10):
        page.devtools("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        page.devtools("Input.dispatchKeyEvent", type="keyUp", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        reached.append(page.run("const e = document.activeElement; return e.id || e.className || e.tagName"))

    wanted = ["skip", "file", "again", "keep", "baseline", "call-model"]
    assert [name for name in reached if name in wanted] == wanted
    nodes = page.devtools("Accessibility.getFullAXTree")["nodes"]
    named = {"button", "combobox", "link", "image", "heading", "rowheader", "columnheader", "Canvas", "img"}
    controls = [node for node in nodes if not node["ignored"] and node["role"]["value"] in named]
    assert len(controls) > 15
    assert [node["role"]["value"] for node in controls if not node["name"]["value"]] == []


CONTRAST = """
const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const luminance = (rgb) => { const [r, g, b] = rgb.match(/[\\d.]+/g).map(Number);
  return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
const ground = (e) => { for (; e; e = e.parentElement) {
  const c = getComputedStyle(e).backgroundColor; if (c !== 'rgba(0, 0, 0, 0)') return c; } };
const texts = [...document.querySelectorAll('main *, header *')].filter((e) => e.checkVisibility() && !e.disabled
  && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) && !(e instanceof SVGElement));
return texts.map((e) => {
  const [a, b] = [getComputedStyle(e).color, ground(e)].map(luminance).sort((x, y) => y - x);
  return [(a + 0.05) / (b + 0.05), e.textContent.trim()]; });
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_and_can_be_read(page: Browser, seven: Path, scheme: str, width: int) -> None:
    """On a phone and a desk, light and dark: nothing runs out of the window; all text has the contrast of WCAG AA."""
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    page.devtools("Emulation.setEmulatedMedia", features=media)
    page.devtools(
        "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600
    )
    try:
        page.pick(seven)
        page.wait(lambda: page.run(ANSWERED), "every ready model has answered")

        assert page.run("return document.documentElement.scrollWidth") <= width
        contrasts = page.run(CONTRAST)
        assert len(contrasts) > 40
        assert [text for ratio, text in contrasts if ratio < 4.5] == []
    finally:
        page.devtools("Emulation.clearDeviceMetricsOverride")
        page.devtools("Emulation.setEmulatedMedia", features=[])
