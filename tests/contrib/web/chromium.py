"""A chromium without a window, driven by its DevTools protocol over one WebSocket."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.support import Deadline, eventually, patience

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Tab:
    """A page in the browser, with all that it has complained of."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.complaints: list[str] = []
        self.requests: list[str] = []
        """The addresses that it has loaded."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Carry out a command of the protocol."""
        self._number += 1
        number = self._number
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            said = json.loads(self._socket.recv(patience()))
            if said.get("id") == number:
                assert "error" not in said, said
                return said["result"]
            self._note(said)

    def _note(self, said: dict[str, Any]) -> None:
        params = said.get("params", {})
        match said.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params["exceptionDetails"])[:500])
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(params["args"])[:500])
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.complaints.append(params["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Network.webSocketCreated":
                self.requests.append(params["url"])

    def size(self, width: int, height: int, scale: float = 1.0) -> None:
        """Make the window so large, or the screen of a phone."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )

    def dark(self, dark: bool) -> None:
        """Have the system's colours dark or light, and nothing move."""
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)

    def open(self, url: str) -> None:
        """Go to an address; another fragment of the same page is a change of its view."""
        self.call("Page.navigate", url=url)

    def js(self, code: str) -> Any:
        """Return the value of an expression."""
        told = self._evaluate(code)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def _evaluate(self, code: str) -> Any:
        return self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)

    def wait(self, code: str) -> Any:
        """Return the value of an expression once it is true; true for an element.

        It may fail before that: a page that is being loaded has no elements.
        """
        deadline = Deadline()
        while not (found := self._once(f"(found => found instanceof Node || found)({code})")):
            if deadline.over:
                body = self.js("document.body.innerText")
                raise AssertionError(f"not so in time: {code}\n{body}\n{self.complaints}")
        return found

    def _once(self, code: str) -> Any:
        told = self._evaluate(code)
        return None if "exceptionDetails" in told else told["result"].get("value")

    def key(self, key: str) -> None:
        """Press a key."""
        codes = {"Enter": ("\r", 13), "Tab": ("", 9), "Escape": ("", 27)}
        text, code = codes[key]
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more
            )

    def type(self, text: str) -> None:
        """Type text into what has the focus."""
        self.call("Input.insertText", text=text)

    def picture(self, path: Path | None = None) -> bytes:
        """Return a screenshot, and save it."""
        png = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        if path is not None:
            path.write_bytes(png)
        return png


@contextmanager
def chromium(folder: Path) -> Iterator[Tab]:
    """Start a browser with one tab; skips where there is none."""
    if CHROMIUM is None:
        pytest.skip("needs chromium (apt install chromium)")
    command = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
        "--hide-scrollbars", "--no-first-run", "--disable-dev-shm-usage",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder / 'chromium'}", "about:blank",
    ]  # fmt: skip
    with (folder / "chromium.txt").open("wb") as printed:
        browser = subprocess.Popen(command, stdout=printed, stderr=printed)
    try:
        port_file = folder / "chromium" / "DevToolsActivePort"
        eventually(lambda: port_file.exists() and len(port_file.read_text().split()) == 2)
        port, path = port_file.read_text().split()
        address = f"ws://127.0.0.1:{port}"
        with connect(address + path, proxy=None, max_size=None) as whole:
            whole.send('{"id": 1, "method": "Target.getTargets"}')
            found = json.loads(whole.recv(patience()))["result"]["targetInfos"]
            target = next(one["targetId"] for one in found if one["type"] == "page")
            page = f"{address}/devtools/page/{target}"
            with connect(page, proxy=None, max_size=None) as socket:
                yield Tab(socket)
    finally:
        browser.terminate()
        try:
            browser.wait(patience())
        finally:
            browser.kill()
            browser.wait()
