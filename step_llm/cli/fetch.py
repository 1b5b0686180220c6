"""``fetch``: Multi30k, by the script that stands beside the data, or by Python."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess

from step_llm.cli.terminal import tell
from step_llm.data import multi30k
from step_llm.data.corpus import corpus_folder
from step_llm.runtime.download import has_wget
from step_llm.runtime.files import shipped
from step_llm.runtime.language import language

__all__ = ["run", "run_fetcher"]


def run(options):
    status = run_fetcher(options, options.out)
    if status == 0:
        corpus = "multi30k" if options.out is None else shlex.quote(str(options.out))
        tell(f"next: python -m step_llm train --corpus {corpus} --out runs/first")
    return status


def run_fetcher(options, out=None) -> int:
    """Fetch into ``out``, or to where ``train`` looks; the exit status.

    Each source that was tried is told, and why it failed.
    """
    words = ["--out", str(out or corpus_folder("multi30k"))]
    mirror = options.mirror
    if options.task and not mirror and not os.environ.get("MULTI30K_MIRROR"):
        mirror = options.task.multi30k()  # a data set that was chosen for the task
    if mirror:
        words += ["--mirror", str(mirror)]
    if _can_run_script():
        command = ["bash", str(shipped("data/fetch_multi30k.sh")), *words]
        environment = {**os.environ, "STEP_LLM_LANGUAGE": language()}
        status = subprocess.run(command, env=environment).returncode
    else:
        status = multi30k.main(words)
    return 2 if status else 0


def _can_run_script():
    """The script needs bash and wget. (A bash on Windows is another system's, with other paths.)"""
    return os.name != "nt" and shutil.which("bash") is not None and has_wget()
