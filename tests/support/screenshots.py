"""Pictures of the page for the documentation: `python -m tests.support.screenshots REPOSITORY PICTURE docs/images`.

Serves the repository, shows the page one picture, keeps asking for two minutes so that the charts are full, and writes
page-light.png, page-dark.png and page-phone.png.
"""

import base64
import io
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from tests.support.browser import Browser
from tests.support.service_process import Server

SECONDS = 120
VIEWS = {"light": (1240, "light"), "dark": (1240, "dark"), "phone": (390, "light")}


def main(repository: Path, picture: Path, out: Path) -> None:
    """Take them all from one load of the page."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(repository.resolve(), Path(folder))
        browser = Browser()
        try:
            browser.open(server.http)
            browser.pick(picture.resolve())
            browser.wait(lambda: browser.one("#keep").is_enabled(), "the picture is answered")
            browser.one("#keep").click()
            time.sleep(SECONDS)
            out.mkdir(parents=True, exist_ok=True)
            for name, (width, scheme) in VIEWS.items():
                (out / f"page-{name}.png").write_bytes(_photograph(browser, width, scheme))
        finally:
            browser.driver.quit()
            server.close()


def _photograph(browser: Browser, width: int, scheme: str) -> bytes:
    """The whole page as a PNG file."""
    browser.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.devtools(
        "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1.5, mobile=width < 600
    )
    time.sleep(1.5)  # one more scrape in the new layout
    height = browser.run("return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    shot = browser.devtools("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
    picture = Image.open(io.BytesIO(base64.b64decode(shot["data"])))
    small = io.BytesIO()
    picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
