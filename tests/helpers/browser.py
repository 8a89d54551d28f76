"""A real browser for tests and screenshots: Chromium without a window, told what to do over its DevTools protocol.

Nothing is installed for it: a Chromium is looked for on the machine (Debian: ``apt-get install chromium``), and what speaks to
it comes with JupyterLab. Tests that need it are skipped, with that reason, where there is none.

    with Browser() as browser:
        browser.open(page)
        browser.value("document.title")
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = os.environ.get("REPRISE_CHROMIUM") or next((found for name in NAMES if (found := shutil.which(name))), None)
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--mute-audio",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    "--force-color-profile=srgb",
]
LOCAL = ("file:", "data:", "blob:", "about:", "chrome:", "devtools:")
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here (Debian: apt-get install chromium)")


class Browser:
    """One page. ``errors``: what its console complained about; ``requests``: what it asked of anything but this disk."""

    def __init__(self, width: int = 1280, height: int = 900):
        self.width, self.height = width, height
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.downloads = Path(tempfile.mkdtemp(prefix="downloads"))
        self._number = itertools.count(1)

    def __enter__(self) -> Browser:
        import websocket

        self._profile = tempfile.mkdtemp(prefix="browser")
        command = [PROGRAM, *FLAGS, f"--user-data-dir={self._profile}", f"--window-size={self.width},{self.height}"]
        self._process = subprocess.Popen(
            [*command, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        port = self._wait_for_port()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=60) as answer:
            page = next(target for target in json.load(answer) if target["type"] == "page")
        self._socket = websocket.create_connection(page["webSocketDebuggerUrl"], timeout=120, suppress_origin=True)
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))
        self.resize(self.width, self.height)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(timeout=30)
        for folder in (self._profile, self.downloads):
            shutil.rmtree(folder, ignore_errors=True)

    def _wait_for_port(self) -> str:
        told = Path(self._profile) / "DevToolsActivePort"
        for _ in range(600):
            if told.is_file() and (lines := told.read_text().split()):
                return lines[0]
            time.sleep(0.1)
        raise RuntimeError(f"{PROGRAM} did not start within a minute")

    # ------------------------------------------------------------------ protocol
    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """One command of the protocol, and its answer; what the page did meanwhile is kept."""
        number = next(self._number)
        self._socket.send(json.dumps({"id": number, "method": method, "params": arguments}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        about = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif message.get("method") == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning"):
            self.errors.append(" ".join(str(one.get("value", one.get("description"))) for one in about["args"]))
        elif message.get("method") == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.errors.append(about["entry"]["text"])
        elif message.get("method") == "Network.requestWillBeSent":
            address = about["request"]["url"]
            if not address.startswith(LOCAL):
                self.requests.append(address)

    # ------------------------------------------------------------------ what a person does
    def open(self, page: Path, *, hash: str = "") -> None:
        """Open a file and wait until it is loaded."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=Path(page).resolve().as_uri() + hash)
        self.until("document.readyState == 'complete' && location.protocol == 'file:'")

    def value(self, expression: str) -> Any:
        """What JavaScript gives, awaited; an error there is one here."""
        told = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        found = self.call("Runtime.evaluate", **told)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"].get("exception", {}).get("description", "?"))
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = 60) -> Any:
        """Wait until an expression is true, and return it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := self.value(expression):
                return found
            time.sleep(0.05)
        raise AssertionError(f"never came true within {seconds:g} s: {expression}")

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        told = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", **told)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """``kind``: mousePressed, mouseMoved, mouseReleased or mouseWheel, at a place of the window."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def drag(self, places: list[tuple[float, float]]) -> None:
        """Press at the first place, move over the others, release at the last."""
        self.mouse("mouseMoved", *places[0])
        self.mouse("mousePressed", *places[0], button="left", buttons=1, clickCount=1)
        for place in places[1:]:
            self.mouse("mouseMoved", *place, button="left", buttons=1)
        self.mouse("mouseReleased", *places[-1], button="left", clickCount=1)

    def downloaded(self, name: str) -> str:
        """The text of a file that the page gave to save; taken away, so that the next one has its name again."""
        target = self.downloads / name
        for _ in range(200):
            if target.is_file() and not list(self.downloads.glob("*.crdownload")):
                held = target.read_bytes()
                target.unlink()
                return held.decode("utf-8")
            time.sleep(0.05)
        raise AssertionError(f"{name} was never saved")

    def screenshot(self, path: Path) -> Path:
        picture = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
        return path
