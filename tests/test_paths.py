"""A folder with a space in its name, and letters that no code page has together, is as good as any.

Set-up in such a folder: tests/test_make_py.py; the Makefile: tests/test_ci.py.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "Käthes Kurs 课程"
# A model so small that training takes seconds.
SMALL = """
import sys
from step_llm.cli import main
from step_llm.models import config
config.PRESETS["tiny"] = (8, 1, 1, 16, 1)
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def home(tmp_path):
    """A checkout in such a folder, and a mirror of six small texts."""
    home = tmp_path / FOLDER
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "step_llm", home / "step_llm", ignore=ignored)
    (home / "data").mkdir()
    for name in ("fetch_multi30k.sh", "download.sh", "multi30k.sources"):
        shutil.copy(ROOT / "data" / name, home / "data")
    (home / "mirror ö").mkdir()
    sums = []
    for split in ("train", "val", "test"):
        for language in ("de", "en"):
            text = (ROOT / "data" / "mini" / f"{split}.{language}").read_bytes()
            text = b"\n".join(text.split(b"\n")[:60]) + b"\n"
            (home / "mirror ö" / f"{split}.{language}").write_bytes(text)
            sums.append(f"{hashlib.sha256(text).hexdigest()}  {split}.{language}\n")
    (home / "data" / "multi30k.sha256").write_text("".join(sums), encoding="utf-8")
    return home


def run(home, *words):
    environment = {**os.environ, "PYTHONPATH": str(home), "PYTHONUTF8": "1", "MULTI30K_SOURCES": ""}
    done = subprocess.run(
        [sys.executable, *words], cwd=home, env=environment, capture_output=True, encoding="utf-8",
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_from_fetching_to_translating(home):
    small = ("-c", SMALL)
    run(home, "-m", "step_llm", "fetch", "--mirror", "mirror ö")
    by_python = ("--mirror", "mirror ö", "--out", "zwei ü/multi30k")
    run(home, "-m", "step_llm.data.multi30k", *by_python)
    texts = [p.read_bytes() for p in sorted((home / "data" / "multi30k").iterdir())]
    again = [p.read_bytes() for p in sorted((home / "zwei ü" / "multi30k").iterdir())]
    assert len(texts) == 6
    assert texts == again
    folder = "Läufe 训练/erster"
    options = ("--epochs", "1", "--preset", "tiny", "--vocab-size", "400", "--device", "CPU")
    said = run(home, *small, "train", "--corpus", "multi30k", "--out", folder, *options)
    assert f"done: {Path(folder)}" in said
    page = home / "Bild ä.html"
    run(home, *small, "translate", folder, "Ein Hund läuft.", "--show-attention", page.name)
    assert "Hund" in page.read_text(encoding="utf-8")
