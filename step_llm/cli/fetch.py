"""``fetch``: Multi30k, by the script that stands beside the data."""

from __future__ import annotations

import os
import shutil
import subprocess

from step_llm.data.corpus import corpus_folder
from step_llm.runtime.files import shipped

__all__ = ["run", "run_fetcher"]


def run(options):
    return run_fetcher(options, options.out)


def run_fetcher(options, out=None) -> int:
    """Fetch into ``out``, or to where ``train`` looks; the exit status.

    The script tells each source that it tried, and why it failed.
    """
    script = shipped("data/fetch_multi30k.sh")
    bash = shutil.which("bash")
    if bash is None:
        raise ValueError("fetching needs bash, and there is none on the PATH; install it")
    command = [bash, str(script), "--out", str(out or corpus_folder("multi30k"))]
    mirror = options.mirror
    if options.task and not mirror and not os.environ.get("MULTI30K_MIRROR"):
        mirror = options.task.multi30k()  # a data set that was chosen for the task
    if mirror:
        command += ["--mirror", str(mirror)]
    return 2 if subprocess.run(command).returncode else 0
