"""How long each lesson takes on this machine in quick mode, and its memory; for the README's table.

    STEP_LLM_QUICK=1 python benchmarks/lessons.py [--warm] [NAME …]

Each lesson runs from top to bottom on a copy, in a process of its own, and compiles every graph.
With --warm it runs a second time and finds the graphs of the first. The result goes to
benchmarks/results/lessons.json; `python benchmarks/readme.py` puts it into the README.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date

from common import RESULTS, ROOT, machine, write_results

RUN = """
import resource
import sys
from pathlib import Path
import nbformat
sys.path.insert(0, "tools")
from notebooks import execute
path = Path(sys.argv[1])
execute(nbformat.read(path, as_version=4), path.parent, 3600)
# The kernel is the largest of this process's children. In KiB on Linux.
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def run(lesson) -> dict:
    """Minutes and memory of one lesson."""
    started = time.perf_counter()
    command = [sys.executable, "-c", RUN, str(lesson)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return {
        "minutes": round((time.perf_counter() - started) / 60, 2),
        "memory_gib": round(int(done.stdout.splitlines()[-1]) / 2**20, 2),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as 02_attention")
    parser.add_argument("--warm", action="store_true", help="a second run, which compiles nothing")
    options = parser.parse_args()
    os.environ["STEP_LLM_QUICK"] = "1"
    path = RESULTS / "lessons.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"lessons": {}}
    content.update({"machine": machine(), "date": date.today().isoformat()})
    lessons = sorted(ROOT.glob("notebooks/*.ipynb"))
    for lesson in lessons:
        if options.names and lesson.stem not in options.names:
            continue
        with tempfile.TemporaryDirectory() as graphs:
            if options.warm:
                os.environ["STEP_LLM_GRAPH_CACHE"] = graphs
            found = run(lesson)
            if options.warm:
                found["warm_minutes"] = run(lesson)["minutes"]
        content["lessons"].setdefault(lesson.stem, {}).update(found)
        print(lesson.stem, found, flush=True)
        write_results("lessons", content)


if __name__ == "__main__":
    main()
