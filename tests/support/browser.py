"""Headless Chromium on the service's page, and everything that it asked for and complained of."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = shutil.which("chromium")
CHROMEDRIVER = shutil.which("chromedriver")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1000",
)
_PATIENCE = 60  # seconds; the machine may be busy with other things


class Browser:
    """One browser; `open` a page, then ask it."""

    def __init__(self) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in _FLAGS:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(str(CHROMEDRIVER)))

    def open(self, url: str) -> None:
        """Load the page and forget what earlier pages logged."""
        self.driver.get("about:blank")
        self.console(), self.requests()
        self.driver.get(url)
        self.wait(lambda: self.all("#cards article"), "the models are shown")

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """The text of one element, read in one step: the page redraws itself."""
        return str(self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector))

    def texts(self, selector: str) -> list[str]:
        """The texts of all elements, read in one step."""
        return list(self.run("return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector))

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def run_module(self, script: str, *arguments: object) -> Any:
        """Run an async script, which may import the page's modules."""
        return self.driver.execute_async_script(
            f"const done = arguments[arguments.length - 1]; (async () => {{ {script} }})().then(done);", *arguments
        )

    def wait(self, condition: Callable[[], object], what: str) -> None:
        WebDriverWait(self.driver, _PATIENCE, poll_frequency=0.05).until(lambda _: condition(), what)

    def devtools(self, command: str, **parameters: object) -> Any:
        return self.driver.execute_cdp_cmd(command, parameters)

    # The three ways to give it a picture, as a person's would arrive: trusted events with real files.

    def drop(self, picture: Path) -> None:
        box = self.one("#drop").rect
        files = {"items": [], "files": [str(picture)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.devtools("Input.dispatchDragEvent", type=kind, x=box["x"] + 30, y=box["y"] + 30, data=files)

    def pick(self, picture: Path) -> None:
        self.one("#file").send_keys(str(picture))

    def paste(self, picture: Path) -> None:
        """Through the clipboard, which takes PNG files."""
        origin = self.run("return location.origin")
        self.devtools(
            "Browser.grantPermissions", origin=origin, permissions=["clipboardReadWrite", "clipboardSanitizedWrite"]
        )
        self.run_module(
            "const blob = new Blob([new Uint8Array(arguments[0])], { type: 'image/png' });"
            "await navigator.clipboard.write([new ClipboardItem({ 'image/png': blob })]);",
            list(picture.read_bytes()),
        )
        keys = {"key": "v", "code": "KeyV", "windowsVirtualKeyCode": 86, "modifiers": 2}
        self.devtools("Input.dispatchKeyEvent", type="keyDown", commands=["paste"], **keys)
        self.devtools("Input.dispatchKeyEvent", type="keyUp", **keys)

    # What it did.

    def console(self) -> list[str]:
        """What the console says since the last call, as "source: message"."""
        return [f"{entry['source']}: {entry['message']}" for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The addresses of all requests since the last call."""
        messages = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
