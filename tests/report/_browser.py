"""Headless Chromium over its own pipe: opens a page, presses keys, drags, looks. No library, no network."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--window-size=1100,900",
    "--remote-debugging-pipe",
]  # fmt: skip
KEYS = {"Tab": 9, "ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35}


class Browser:
    """One page in Chromium; a context manager."""

    def __init__(self, page: Path) -> None:
        self.page = page

    def __enter__(self):
        try:
            self.open()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return self

    def open(self):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_browser, self.write_end = os.pipe()
        self.read_end, from_browser = os.pipe()

        def connect() -> None:  # Chromium reads commands from descriptor 3 and answers on 4
            pipes = os.dup(to_browser), os.dup(from_browser)
            for pipe, end in zip(pipes, (3, 4), strict=True):
                os.dup2(pipe, end)
                os.set_inheritable(end, True)  # which `dup2` leaves as it is where both are the same

        self.process = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={self.profile.name}"],
            preexec_fn=connect, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self.number, self.buffer, self.requests = 0, b"", []
        self.session = None
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self("Page.enable")
        self("Network.enable")
        self("Page.navigate", url=self.page.as_uri())
        self.wait_for("Page.loadEventFired")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.write_end)
        os.close(self.read_end)
        self.profile.cleanup()

    def receive(self) -> dict:
        while b"\0" not in self.buffer:
            part = os.read(self.read_end, 1 << 20)
            if not part:
                raise RuntimeError("Chromium ended")
            self.buffer += part
        message, self.buffer = self.buffer.split(b"\0", 1)
        found = json.loads(message)
        if found.get("method") == "Network.requestWillBeSent":
            self.requests.append(found["params"]["request"]["url"])
        return found

    def wait_for(self, method: str) -> dict:
        while (message := self.receive()).get("method") != method:
            pass
        return message

    def __call__(self, method: str, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        while (answer := self.receive()).get("id") != self.number:
            pass
        if "error" in answer:
            raise RuntimeError(answer["error"]["message"])
        return answer["result"]

    def value(self, script: str):
        """What a script evaluates to."""
        answer = self("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str, times: int = 1) -> None:
        """Presses a key as a person would, on whatever has the focus."""
        for _ in range(times):
            for kind in ("rawKeyDown", "keyUp"):
                self("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def drag(self, start, end) -> None:
        """Drags with the left button from one point of the window to another."""
        left = {"button": "left", "buttons": 1, "clickCount": 1}
        self("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], **left)
        self("Input.dispatchMouseEvent", type="mouseMoved", x=end[0], y=end[1], **left)
        self("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], button="left", clickCount=1)

    def prefer(self, scheme: str) -> None:
        """Makes the reader prefer "dark" or "light"."""
        self("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def resize(self, width: int, height: int) -> None:
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, **options) -> bytes:
        """The page as PNG."""
        return base64.b64decode(self("Page.captureScreenshot", **options)["data"])
