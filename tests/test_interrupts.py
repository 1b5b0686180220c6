"""An interrupt (Ctrl-C, ■) stops what MindSpore computes; the process and its state live on."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest
from jupyter_client.manager import start_new_kernel

from step_llm.runtime.device import use_device

# A loop over a compiled function, as a training is; what it has done stays.
BEGINNING = """
import os
os.environ["GLOG_v"] = "3"
import mindspore as ms, numpy as np
from mindspore import Tensor, ops
from step_llm.runtime.device import use_device

use_device("CPU")

@ms.jit
def update(x):
    return ops.tanh(ops.matmul(x, x) * 1e-3) + 1

x, steps = Tensor(np.ones((300, 300), np.float32)), 0
x = update(x)
"""
LOOP = """
print("running", flush=True)
while True:
    x = update(x)
    steps += 1
"""
STOPPABLE = """
from step_llm import course

with course.stoppable():
    print("running", flush=True)
    while True:
        x = update(x)
print("goes on")
"""
AFTER = """
x = update(x)
print("goes on after", steps > 0, bool(np.isfinite(x.asnumpy()).all()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to another process")
def test_ctrl_c_while_a_compiled_function_runs(tmp_path):
    loop = LOOP.strip().replace("\n", "\n    ")
    script = tmp_path / "script.py"  # MindSpore compiles what stands in a file
    text = f"{BEGINNING}\ntry:\n    {loop}\nexcept KeyboardInterrupt:\n    pass\n{AFTER}"
    script.write_text(text, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout.readline() == "running\n", process.stderr.read()
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out) == (0, "goes on after True True\n"), err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to another process")
def test_the_stop_button_of_a_notebook():
    """■ ends the cell, not the kernel: what the cell has learned is there."""
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        done = client.execute_interactive(BEGINNING, timeout=120, output_hook=lambda message: None)
        assert done["content"]["status"] == "ok", done["content"]
        stop = threading.Timer(2.0, manager.interrupt_kernel)
        stop.start()
        stopped = client.execute_interactive(LOOP, timeout=60, output_hook=lambda message: None)
        assert stopped["content"]["ename"] == "KeyboardInterrupt"
        said = []
        client.execute_interactive(AFTER, timeout=60, output_hook=said.append)
        text = [m["content"]["text"] for m in said if m["msg_type"] == "stream"]
        assert text == ["goes on after True True\n"]
        # As the lessons train: the cell goes on after its loop.
        stop = threading.Timer(2.0, manager.interrupt_kernel)
        stop.start()
        said.clear()
        ended = client.execute_interactive(STOPPABLE, timeout=60, output_hook=said.append)
        assert ended["content"]["status"] == "ok", ended["content"]
        text = "".join(m["content"]["text"] for m in said if m["msg_type"] == "stream")
        assert text == "running\nstopped: going on with what was learned so far\ngoes on\n"
        manager.interrupt_kernel()  # where nothing runs, nothing happens
        time.sleep(1)
        said.clear()
        client.execute_interactive(AFTER, timeout=60, output_hook=said.append)
        text = [m["content"]["text"] for m in said if m["msg_type"] == "stream"]
        assert text == ["goes on after True True\n"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.fixture
def terminate():
    """Puts the handler of SIGTERM back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_handler_of_ones_own_stays(terminate, monkeypatch):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    use_device("CPU")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    monkeypatch.setenv("MS_ROLE", "MS_WORKER")  # several processes have to end together
    use_device("CPU")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    monkeypatch.delenv("MS_ROLE")
    thread = threading.Thread(target=use_device, args=("CPU",))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    use_device("CPU")
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
