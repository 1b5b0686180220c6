"""Run lessons in JupyterLab as a learner does, in a headless Chromium, and look at the page.

    python tests/browser/run_lessons.py [--out runs/browser] [NAME.ipynb …]

For each lesson: open it, Run All Cells, wait until no cell is running, and check that every cell
has run, that no output is red (an error or standard error), that progress bars are bars, that every
picture is drawn and every formula set. Screenshots go to the folder named by --out, to be looked
at. The lessons run on a copy: what the browser saves does not touch the repository.

Needs the package playwright (requirements-browser.txt) and a Chromium of the system; CHROMIUM names
one that is not on the PATH. `make test-browser` calls this.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import nbformat
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
LESSONS = (
    "00_start_here.ipynb",
    "02_attention.ipynb",
    "05_multi30k_translation.ipynb",
)
WITH_PROGRESS_BARS = ("05_multi30k_translation.ipynb",)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Nothing but the local server is talked to.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
# All cells are drawn, also those out of sight; nobody is asked about news.
SETTINGS = {
    "notebook-extension/tracker": '{"windowingMode": "none"}',
    "apputils-extension/notification": '{"fetchNews": "false"}',
}
# What the page looks like, asked in one go.
LOOK = """() => {
  const notebook = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook');
  const prompts = [...notebook.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]
    .map(e => e.textContent);
  const all = s => [...notebook.querySelectorAll(s)];
  return {
    cells: prompts.length,
    running: prompts.filter(p => p.includes('*')).length,
    not_run: prompts.filter(p => !/\\[\\d+\\]/.test(p)).length,
    errors: all('[data-mime-type="application/vnd.jupyter.error"]').map(e => e.innerText),
    stderr: all('[data-mime-type="application/vnd.jupyter.stderr"]').map(e => e.innerText),
    bars: all('.jupyter-widgets .progress').length,
    images: all('img').map(e => ({src: e.src.slice(0, 60), width: e.naturalWidth})),
    formulas: all('mjx-container').length,
    raw_formulas: all('.jp-RenderedMarkdown').map(e => e.innerText).filter(t => t.includes('$$')),
    broken_formulas: all('mjx-merror').length,
  };
}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("lessons", nargs="*", default=LESSONS)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "browser")
    parser.add_argument("--minutes", type=float, default=10, help="most time for one lesson")
    options = parser.parse_args()
    browser_path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), "")
    if not browser_path:
        names = ", ".join(BROWSERS)
        print(f"no browser: install one of {names}, or set CHROMIUM=/path/to/it", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    complaints = []
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        address = stack.enter_context(server(Path(scratch)))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=browser_path, args=list(FLAGS))
        for name in options.lessons:
            found = run_lesson(browser, address, name, options)
            complaints += [f"{name}: {what}" for what in found]
            print(f"{name}: {'; '.join(found) or 'as it should be'}", flush=True)
        browser.close()
    print(f"{len(options.lessons)} lessons, {len(complaints)} complaints")
    print(f"pictures of the pages: {options.out}")
    return 1 if complaints else 0


class server:
    """JupyterLab on a copy of the notebooks; as a context its address, token included."""

    def __init__(self, scratch: Path):
        self.scratch = scratch

    def __enter__(self) -> str:
        shutil.copytree(ROOT / "notebooks", self.scratch / "notebooks")
        for path in (self.scratch / "notebooks").glob("*.ipynb"):
            without_outputs(path)
        for name, text in SETTINGS.items():
            path = self.scratch / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        token = secrets.token_hex(16)
        environment = {
            **os.environ,
            "STEP_LLM_QUICK": "1",
            "JUPYTER_PREFER_ENV_PATH": "1",
            "JUPYTERLAB_SETTINGS_DIR": str(self.scratch / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(self.scratch / "workspaces"),
        }
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
            "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
            f"--ServerApp.root_dir={self.scratch}", "--LabApp.news_url=",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ]  # fmt: skip
        self.log = open(self.scratch / "server.log", "w")
        self.process = subprocess.Popen(
            command, env=environment, cwd=self.scratch, stdout=self.log, stderr=self.log
        )
        base = f"http://127.0.0.1:{port}"
        for _ in range(120):
            try:
                with urllib.request.urlopen(f"{base}/api?token={token}", timeout=2) as answer:
                    json.load(answer)
                return f"{base}/lab/tree/notebooks/{{}}?token={token}&reset"
            except OSError:
                time.sleep(0.5)
        raise RuntimeError((self.scratch / "server.log").read_text()[-2000:])

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


def without_outputs(path: Path) -> None:
    """Take the stored outputs away: what the page shows then is of this run."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, path)


def run_lesson(browser, address, name, options) -> list[str]:
    """What is wrong with the page after all cells have run."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.goto(address.format(name))
    page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell", timeout=120_000)
    # The status of the kernel: nothing may be run before it is there.
    page.wait_for_selector('.jp-NotebookPanel-toolbar [data-status="idle"]', timeout=120_000)
    # The first page may ask for a kernel before the server has said which there are.
    page.wait_for_timeout(2000)
    dialog = page.locator(".jp-Dialog .jp-mod-accept")
    if dialog.count():
        dialog.first.click()
        page.wait_for_selector('.jp-NotebookPanel-toolbar [data-status="idle"]', timeout=120_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    end = time.monotonic() + 60 * options.minutes
    page.wait_for_timeout(3000)
    bars = 0
    while True:
        seen = page.evaluate(LOOK)
        bars = max(bars, seen["bars"])
        if not seen["running"] or time.monotonic() > end:
            break
        page.wait_for_timeout(500)
    page.wait_for_timeout(2000)
    seen = page.evaluate(LOOK)
    screenshots(page, options.out, Path(name).stem)
    page.close()
    found = []
    if seen["running"]:
        found.append(f"still running after {options.minutes} minutes")
    if seen["not_run"]:
        found.append(f"{seen['not_run']} of {seen['cells']} cells have not run")
    found += [f"an error: {text[:300]}" for text in seen["errors"]]
    found += [f"standard error: {text[:300]}" for text in seen["stderr"]]
    found += [f"a picture is not drawn: {i['src']}" for i in seen["images"] if not i["width"]]
    found += [f"a formula is not set: {text[:100]}" for text in seen["raw_formulas"]]
    if seen["broken_formulas"]:
        found.append(f"{seen['broken_formulas']} formulas have errors")
    if len(seen["images"]) < 3:
        found.append(f"only {len(seen['images'])} pictures; expected a diagram and two plots")
    if name in WITH_PROGRESS_BARS and not bars:
        found.append("no progress bar is drawn as a bar")
    return found


def screenshots(page, folder, stem):
    """The whole notebook, page by page."""
    scroller = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer").first
    height = scroller.evaluate("e => e.scrollHeight")
    step = scroller.evaluate("e => e.clientHeight") - 40
    for old in folder.glob(f"{stem}-*.png"):
        old.unlink()
    for number, top in enumerate(range(0, height, step)):
        scroller.evaluate("(e, top) => { e.scrollTop = top; }", top)
        page.wait_for_timeout(300)
        page.screenshot(path=folder / f"{stem}-{number:02}.png")


if __name__ == "__main__":
    sys.exit(main())
