"""A notebook in a real browser: JupyterLab or Voilà serving a folder, and Debian's Chromium looking at it, offline."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
NEWS = "@jupyterlab/apputils-extension:announcements"  # asks whether it may
TRIES = 12
PATIENCE = 120_000  # milliseconds: machines that test are busy
SERVERS = {
    "lab": ("jupyterlab", "--IdentityProvider.token=", "--ServerApp.password=", "--no-browser", "--allow-root",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"),
    "voila": ("voila", "--no-browser"),
}  # fmt: skip

# Presses are timed in the page itself: from the key's event to the picture that has been decoded and shown.
TIMING = """([image, handle, key, n, nth]) => new Promise((done) => {
    const times = []; let began = 0, loads = 0;
    handle.addEventListener("keydown", () => { began = performance.now(); loads = 0; }, {capture: true});
    const press = () => { handle.focus(); handle.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true})); };
    image.addEventListener("load", () => requestAnimationFrame(() => {
        if (!began || ++loads < nth) return;  // 0: the draft drawn again in full
        times.push(performance.now() - began); began = 0;
        times.length < n ? setTimeout(press, 1500) : done(times);
    }));
    press();
})"""
BYTES = """async (image) => {
    const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    return Array.from(digest, (b) => b.toString(16).padStart(2, "0")).join("");
}"""


def write(folder: Path, *cells: str, name: str = "page") -> Path:
    """A notebook of these code cells."""
    about = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    file = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in cells], metadata=about), file)
    return file


@contextmanager
def served(kind: str, notebook: Path) -> Iterator[str]:
    """The address of a notebook under JupyterLab ("lab") or Voilà ("voila"), with settings and folders of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = notebook.parent / kind
    places = {f"JUPYTER_{what}_DIR": str(home / what.lower()) for what in ("CONFIG", "DATA", "RUNTIME")}
    module, *options = SERVERS[kind]
    where = (
        [f"--ServerApp.root_dir={notebook.parent}", f"--port={port}"] if kind == "lab" else [notebook, f"--port={port}"]
    )
    (home / "config" / "labconfig").mkdir(parents=True)
    (home / "config" / "labconfig" / "page_config.json").write_text(json.dumps({"disabledExtensions": {NEWS: True}}))
    with open(home / "log.txt", "w") as log:
        command = [sys.executable, "-m", module, *options, *where]
        server = subprocess.Popen(command, env=os.environ | places, stdout=log, stderr=log, cwd=notebook.parent)
        try:
            address = f"http://127.0.0.1:{port}/"
            _wait(server, address + ("api" if kind == "lab" else "static/"), home / "log.txt")
            yield address + (f"lab/tree/{notebook.name}" if kind == "lab" else "")
        finally:
            server.terminate()
            server.wait(30)


def _wait(server: subprocess.Popen, address: str, log: Path) -> None:
    for _ in range(PATIENCE // 500):
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with {server.returncode}:\n{log.read_text()[-2000:]}")
        try:
            with urlopen(address, timeout=5):
                return
        except URLError as error:
            if getattr(error, "code", None):  # it answers, whatever it says
                return
        except OSError:
            pass
        time.sleep(0.5)
    raise TimeoutError(f"no answer from {address}:\n{log.read_text()[-2000:]}")


@contextmanager
def chromium(**context) -> Iterator:
    """A page of a fresh browser that reaches this machine and files alone. `page.trouble`: failed requests, errors."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS), headless=True)
        try:
            page = browser.new_context(viewport={"width": 1440, "height": 1000}, **context).new_page()
            page.set_default_timeout(PATIENCE)
            page.trouble = []
            local = ("http://127.0.0.1", "ws://127.0.0.1", "file:", "data:", "blob:")
            page.route(
                lambda address: not address.startswith(local),
                lambda route: (page.trouble.append(route.request.url), route.abort()),
            )
            page.on("requestfailed", lambda request: page.trouble.append(f"{request.url}: {request.failure}"))
            page.on("console", lambda said: said.type == "error" and page.trouble.append(said.text))
            page.on("pageerror", lambda error: page.trouble.append(str(error)))
            yield page
        finally:
            browser.close()


def run_all(page) -> None:
    """JupyterLab's Run → Run All Cells, as soon as the kernel listens: before, the command does nothing."""
    from playwright.sync_api import TimeoutError as Late

    page.get_by_text("| Idle").wait_for()
    for _ in range(TRIES):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        try:
            page.locator(".jp-InputPrompt", has_text=re.compile(r"\[[*\d]+\]")).first.wait_for(timeout=5000)
            return
        except Late:
            continue
    raise TimeoutError(f"no cell ran, {TRIES} times")


class Shown:
    """The explorer of a page that has a control of this name."""

    def __init__(self, page, control: str):
        self.page = page
        self.root = page.locator(".widget-vbox").filter(has=page.locator("img.widget-image"), has_text=control).first
        self.image = self.root.locator("img.widget-image")
        self.image.wait_for()
        self.said = self.root.locator(".widget-html-content").last

    def control(self, name: str):
        """The labelled row of a control."""
        return self.root.locator(".widget-inline-hbox").filter(has=self.page.locator(".widget-label", has_text=name))

    def slider(self, name: str):
        return self.control(name).first.locator(".noUi-handle")

    def status(self) -> str:
        return self.said.inner_text()

    def number(self, pattern: str) -> float:
        """The number that a pattern finds in the line below the picture, once it is there."""
        self.page.wait_for_function(
            "([line, pattern]) => RegExp(pattern).test(line.innerText)", arg=[self.said.element_handle(), pattern]
        )
        return float(re.search(pattern, self.status())[1])

    def bytes(self) -> str:
        return self.image.evaluate(BYTES)

    def press(self, name: str, key: str, times: int = 1) -> None:
        """Move a slider by the keyboard, and wait for another picture and another line below it."""
        before = self.image.get_attribute("src"), self.status()
        self.slider(name).focus()
        for _ in range(times):
            self.page.keyboard.press(key)
        self.page.wait_for_function(
            "([image, line, src, said]) => image.src != src && line.innerText != said",
            arg=[self.image.element_handle(), self.said.element_handle(), *before],
        )

    def seconds(self, name: str, key: str = "ArrowRight", n: int = 9, nth: int = 1) -> list[float]:
        """Seconds from a key on a slider to the nth picture that follows, n times."""
        handles = [self.image.element_handle(), self.slider(name).element_handle()]
        return [ms / 1000 for ms in self.page.evaluate(TIMING, [*handles, key, n, nth])]
