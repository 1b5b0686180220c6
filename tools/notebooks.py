"""Execute the notebooks and store their outputs, clean: `make notebooks` calls this.

    python tools/notebooks.py                      all lessons and solutions
    python tools/notebooks.py notebooks/02*.ipynb  these alone
    python tools/notebooks.py --fresh …            replace every stored output

A cell that raises stops the run, and its notebook stays as it was. Stored outputs that the new ones
agree with, as nbval compares them, are kept, and so are those of cells marked as depending on the
run: so a second run changes nothing. What is stored holds no timings of cells, no machine's
metadata and no state of widgets. The alternative texts of plots stay (tools/alt_text.py).
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import sys
import time
from pathlib import Path

import matplotlib.image
import nbformat
import numpy as np
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import chinese  # noqa: E402
from alt_text import alt_text, describe  # noqa: E402
from chinese import write  # noqa: E402

NOTEBOOKS = ROOT / "notebooks"
SANITIZER = NOTEBOOKS / "sanitize.cfg"
IGNORE = "nbval-ignore-output"
WIDGET = "application/vnd.jupyter.widget-view+json"


def all_notebooks() -> list[Path]:
    """Lessons in their order, then the solutions."""
    return sorted(NOTEBOOKS.glob("*.ipynb")) + sorted(NOTEBOOKS.glob("solutions/*.ipynb"))


def execute(notebook, folder: Path, timeout: int) -> None:
    """Run all cells of a notebook in a fresh kernel of this Python."""
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    os.environ["STEP_LLM_RECORD"] = "0"  # what these cells check is no reader's answer
    os.environ["STEP_LLM_LANGUAGE"] = "en"  # both editions store the English outputs
    NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": folder}},
        extra_arguments=["--log-level=40"],  # Errors of the kernel only.
    ).execute()


def clean(notebook) -> None:
    """Leave of metadata and outputs what a reader, nbval and the web page need."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    count = 0
    for cell in notebook.cells:
        kept = {key: cell.metadata[key] for key in ("mystnb", "tags") if cell.metadata.get(key)}
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        cell.outputs = _clean_outputs(cell.outputs, count)


def _clean_outputs(outputs, count):
    cleaned = []
    for output in outputs:
        if "data" in output:
            if WIDGET in output.data:
                continue  # A progress bar lives in its kernel; stored, it would stand at 0 %.
            output.metadata = nbformat.from_dict({})
        if output.output_type == "execute_result":
            output.execution_count = count
        last = cleaned[-1] if cleaned else None
        if last is not None and output.get("name") == last.get("name") and "text" in last:
            last.text += output.text
        else:
            cleaned.append(output)
    return cleaned


def keep_agreeing(notebook, stored) -> None:
    """Give cells their stored outputs back where nothing that matters has changed."""
    patterns = [
        (re.compile(regex), replacement)
        for regex, replacement in re.findall(
            r"^regex: (.*)$\n^replace: (.*)$", SANITIZER.read_text(encoding="utf-8"), re.MULTILINE
        )
    ]
    before = {cell.source: cell for cell in stored.cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        old = before.get(cell.source) if cell.cell_type == "code" else None
        if old is None or not old.outputs:
            continue
        ignored = IGNORE in cell.metadata.get("tags", ())
        if ignored or _agree(cell.outputs, old.outputs, patterns):
            cell.outputs = _clean_outputs(old.outputs, cell.execution_count)


def describe_plots(notebook) -> None:
    """Put the alternative texts of the cells to their new outputs."""
    for cell in notebook.cells:
        if alt_text(cell):
            describe(cell, alt_text(cell))


def _agree(new, old, patterns):
    if len(new) != len(old):
        return False
    return all(_comparable(a, patterns) == _comparable(b, patterns) for a, b in zip(new, old)) and (
        all(_same_picture(a, b) for a, b in zip(new, old))
    )


def _comparable(output, patterns):
    """An output's texts, sanitized; pictures are compared apart."""
    texts = dict(output.get("data", {}))
    texts.pop("image/png", None)
    texts["stream"] = output.get("text", "")
    for kind, text in texts.items():
        text = str(text)
        for regex, replacement in patterns:
            text = regex.sub(replacement, text)
        texts[kind] = text
    return output.output_type, output.get("name"), texts


def _same_picture(new, old):
    """Whether two plots look the same: another processor's rounding moves pixels a little."""
    a, b = (output.get("data", {}).get("image/png") for output in (new, old))
    if a is None or b is None:
        return a is b
    a, b = (matplotlib.image.imread(io.BytesIO(base64.b64decode(data))) for data in (a, b))
    return a.shape == b.shape and float(np.abs(a - b).mean()) < 0.002


def _carry_to_chinese(path):
    """The Chinese edition has the same code and outputs, see tools/chinese.py."""
    if NOTEBOOKS not in path.parents:
        return
    name = path.relative_to(NOTEBOOKS).as_posix()
    if (chinese.CHINESE / name).exists() and chinese.carry(name):
        print(f"zh/{name}: code and outputs carried over", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of them")
    parser.add_argument("--fresh", action="store_true", help="replace every stored output")
    parser.add_argument("--timeout", type=int, default=7200, help="seconds for one cell")
    options = parser.parse_args()
    for path in options.notebooks or all_notebooks():
        path = path.resolve()
        stored = nbformat.read(path, as_version=4)
        notebook = nbformat.read(path, as_version=4)
        started = time.perf_counter()
        try:
            execute(notebook, path.parent, options.timeout)
        except CellExecutionError as error:
            print(f"{path.name} stopped, and is left as it was:\n{error}", file=sys.stderr)
            return 1
        clean(notebook)
        if not options.fresh:
            keep_agreeing(notebook, stored)
        describe_plots(notebook)
        changed = write(notebook, path)
        seconds = time.perf_counter() - started
        print(f"{path.name}: {seconds:.0f} s, {'written' if changed else 'unchanged'}", flush=True)
        _carry_to_chinese(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
