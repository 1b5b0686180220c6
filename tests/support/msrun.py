"""Jobs of several processes, started by ``msrun`` as a user starts them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

__all__ = ["end", "environment", "free_port", "of_job", "said", "start"]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MS_")}
    kept["OMP_NUM_THREADS"] = "1"  # the processes of a job share few cores
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"  # msrun says «python»
    return {**kept, "PATH": path, "GLOG_v": "3", **more}


def on_all_cores():
    """Tests that run side by side keep to one core each, which is too little for a whole job."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count()))


def start(workers, job, logs, prefix=(), options=(), **more):
    """Start msrun; all of its processes have ``logs`` as their folder."""
    options = options or [f"--local_worker_num={workers}", f"--master_port={free_port()}"]
    command = [
        *prefix, sys.executable, "-m", "mindspore.parallel.cluster.run", f"--worker_num={workers}",
        *options, "--join=True", f"--log_dir={logs}", "python", *job,
    ]  # fmt: skip
    logs.mkdir(parents=True)
    with open(logs / "msrun.log", "w") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd=logs,
            env=environment(**more), preexec_fn=on_all_cores,
        )  # fmt: skip


def said(logs):
    return "\n".join(path.read_text(errors="replace") for path in sorted(logs.glob("*.log")))


def of_job(logs):
    """The processes of a job that are still there: they have its folder as their own."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(folder / "cwd") == str(logs):
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                found += [int(folder.name)] if state != "Z" else []
        except OSError:
            continue  # it has ended meanwhile
    return found


def end(logs):
    for pid in of_job(logs):
        os.kill(pid, signal.SIGKILL)
