"""A headless Chromium for all tests of pages, by its DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
CHROMIUM = next((found for found in map(shutil.which, NAMES) if found), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--window-size=1000,1400",
    "--remote-debugging-port=0",
)


class Browser:
    """One page of it. profile: an empty folder."""

    def __init__(self, profile: Path) -> None:
        self.process = subprocess.Popen(
            [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}"],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # with what it starts, since some are wrapped in a shell
        )
        assert self.process.stderr is not None
        line = next(line for line in self.process.stderr if "DevTools listening on" in line)
        self.stack = contextlib.ExitStack()
        self.socket = self.stack.enter_context(connect(line.split()[-1], max_size=None))
        self.number, self.session = 0, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method: str, **params: Any) -> Any:
        """The result of a command."""
        self.number += 1
        about = {"sessionId": self.session} if self.session else {}
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params, **about}))
        while True:
            found = json.loads(self.socket.recv(30))
            if found.get("id") == self.number:
                return found["result"]

    def run(self, script: str) -> Any:
        """The value of an expression of the page."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def until(self, script: str) -> Any:
        """The value, once it is true; 30 seconds at most."""
        end = time.monotonic() + 30
        while not (found := self.run(script)):
            assert time.monotonic() < end, self.html()
            time.sleep(0.02)
        return found

    def open(self, url: str) -> str:
        """The page at `url`, once it has answered."""
        self.call("Page.navigate", url=url)
        here = json.dumps(url)
        self.until(f"location.href === {here} && !!document.body && !!document.body.dataset.state")
        return self.html()

    def html(self) -> str:
        """The page as it is."""
        return self.run("document.documentElement.outerHTML")

    def shot(self) -> bytes:
        """A picture of it, PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def try_example(self, url: str) -> None:
        """Open a page of a model, fill in its example, and wait for the answer, which must be no error."""
        self.open(url)
        for button in ("other", "go"):
            self.run(f"document.body.dataset.state = ''; at({button!r}).click()")
            self.until("document.body.dataset.state")
        assert self.run("at('error').textContent") == "", url

    def close(self) -> None:
        self.stack.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
