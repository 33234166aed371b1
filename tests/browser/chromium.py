# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control a real, headless Chromium over the DevTools protocol through a pair of pipes."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PATIENCE_S = 30.0
# The browser sends requests to the page's server only.
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-pipe",
)
PHONE, DESK = (390, 844), (1280, 900)


class BrowserError(Exception):
    """The browser failed, or did not answer in time."""


def program() -> str:
    """Return the path of the browser."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not found:
        raise BrowserError("expected chromium on this machine, found none: apt-get install chromium")
    return found


class Browser:
    """A browser that shows one page at a time."""

    def __init__(self, profile: Path) -> None:
        asked, self._out = os.pipe()
        self._in, answered = os.pipe()
        # The protocol uses descriptors 3 and 4. bash moves the pipes there; numbers from 20 cannot collide with them.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (asked, answered)]
        sandbox = [] if os.geteuid() else ["--no-sandbox"]
        chromium = [program(), *FLAGS, *sandbox, f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec 3<&{ends[0]} 4>&{ends[1]} "$@"', "bash", *chromium],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=ends,
            start_new_session=True,
        )
        for end in (asked, answered, *ends):
            os.close(end)
        self._buffer = b""
        self._number = 0
        self._session = ""
        self._is_loaded = False
        #: Errors of the page's script and log entries of the browser.
        self.complaints: list[str] = []
        #: Requested URLs.
        self.asked: list[str] = []

    def _receive(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._in], [], [], left)[0]:
                raise BrowserError("expected an answer of the browser, found none in time")
            piece = os.read(self._in, 1 << 16)
            if not piece:
                raise BrowserError(f"expected a browser that runs, found it ended with {self.process.wait()}")
            self._buffer += piece
        message, _nul, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        self._note(found.get("method", ""), found.get("params", {}))
        return found

    def _note(self, method: str, params: Mapping[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.asked.append(str(params["request"]["url"]))
        elif method == "Page.loadEventFired":
            self._is_loaded = True
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE_S
        while True:
            answer = self._receive(until)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def open_tab(self) -> None:
        """Open an empty page."""
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.complaints.clear()
        self.asked.clear()

    def look(self, size: tuple[int, int] = DESK, dark: bool = False, script: bool = True, zoom: float = 1.0) -> None:
        """Set the viewport, color scheme, zoom and scripting of the next pages."""
        width, height = size
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=zoom,
            mobile=size == PHONE,
        )
        # A scrollbar would be cut from the right side of pictures.
        self.call("Emulation.setScrollbarsHidden", hidden=True)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        self.call("Emulation.setTimezoneOverride", timezoneId="Asia/Tokyo")
        # Only a page with focus may use the clipboard.
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def go(self, url: str) -> None:
        """Open a URL, and wait until the page is loaded."""
        self._is_loaded = False
        error = self.call("Page.navigate", url=url).get("errorText")
        if error:
            raise BrowserError(f"{url}: {error}")
        until = time.monotonic() + PATIENCE_S
        while not self._is_loaded:
            self._receive(until)

    def run(self, script: str) -> Any:
        """Run a script in the page, wait for a promise, and return the value."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def wait(self, what: Callable[[], bool], text: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until a condition holds."""
        until = time.monotonic() + patience_s
        while not what():
            if time.monotonic() > until:
                raise BrowserError(f"expected {text}, waited {patience_s:g} seconds in vain")
            time.sleep(0.1)

    def text(self, selector: str = "body") -> str:
        """Return the visible text."""
        return " ".join(str(self.run(f"document.querySelector({json.dumps(selector)}).innerText")).split())

    def press(self, key: str, code: int) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            more = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)

    def picture(self, path: Path, height: int = 0) -> None:
        """Take a picture of the whole page, or of as many pixels from its top."""
        given: dict[str, Any] = {}
        if height:
            width = self.run("document.documentElement.clientWidth")
            given["clip"] = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True, **given)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """Kill the browser with all its processes."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._in)
        os.close(self._out)


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser with its own profile."""
    profile = Path(tempfile.mkdtemp(prefix="herd-browser-"))
    made = Browser(profile)
    try:
        made.open_tab()
        yield made
    finally:
        made.close()
        shutil.rmtree(profile, ignore_errors=True)
