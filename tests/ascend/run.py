"""Run the library's cases on a stand-in for CANN, and hold what was launched against the files.

    python -m tests.ascend.run                    # every case on every chip: `make test-ascend`
    python -m tests.ascend.run gpt vit/float32    # these models, or cases
    python -m tests.ascend.run --write            # write the files anew

It needs no NPU; what it shows and what it does not is in docs/devices.md.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
import tempfile
from pathlib import Path

from tests.ascend import records
from tests.ascend.build import build, environment, on_host, why_not
from tests.support.msrun import free_port
from tests.support.stand_in import chosen, model_of, one_after_another, output_of, passed

__all__ = ["SOCS", "run_cases"]

SOCS = ("Ascend910B1", "Ascend910A")


def run_cases(home: Path, soc: str, names, record: Path, say=print) -> dict[str, str]:
    """Run cases one after another; a process for each model.

    Args:
        home: what ``build`` returned.
        soc: the chip.
        names: of cases.
        record: the file to which every launch is added.
        say: called with a line for each case.

    Returns:
        for each case that did not reach its end, the last lines of what its process wrote.
    """
    return one_after_another(
        names,
        lambda left: _run(left, home, soc, record),
        lambda line: say(f"{soc} {line}"),
        # What msrun starts is a process of its own.
        process_of=lambda name: name if "msrun" in name else model_of(name),
    )


def _run(names, home, soc, record):
    """One process: the cases that came to their end, and what it wrote."""
    environ = {**os.environ, **environment(home, soc, record)}
    # msrun starts the "python" of the path.
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    command = ["python", "-m", "tests.ascend.cases", *names]
    with tempfile.TemporaryDirectory() as logs:
        if names[0].endswith("/msrun"):
            command = ["msrun", "--worker_num=1", "--local_worker_num=1", "--join=True",
                       f"--log_dir={logs}", f"--master_port={free_port()}", *command]  # fmt: skip
        output = output_of(command, environ, logs)
        for log in sorted(Path(logs).glob("worker_*.log")):
            output += log.read_text(encoding="utf-8", errors="replace")
    with open(record, "a", encoding="utf-8") as file:
        file.writelines(f"host {name}\n" for name in sorted(on_host(output)))
    lines = [line for line in output.splitlines() if not line.startswith(("[INFO]", "[WARNING]"))]
    # msrun shows what a worker writes, and keeps it in the worker's log.
    return passed(lines), "\n".join(lines[-20:])


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("cases", nargs="*", help="models or cases; default: all")
    parser.add_argument("--soc", action="append", help="default: every one")
    parser.add_argument("--write", action="store_true", help="write the files instead of comparing")
    options = parser.parse_args(arguments)
    if why_not():
        print(f"cannot run: {why_not()}", file=sys.stderr)
        return 2
    from tests.ascend.cases import CASES_OF

    version = importlib.metadata.version("mindspore")
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        home = build(folder)
        for soc in options.soc or SOCS:
            record = Path(folder, f"{soc}.txt")
            names = chosen(CASES_OF[soc], options.cases)
            failed = run_cases(home, soc, names, record, say=lambda line: print(line, flush=True))
            found = records.read(record)
            is_whole = not options.cases and not failed
            wrong += len(failed)
            if options.write:
                records.write(soc, version, found, is_whole)
                continue
            made_with, expected = records.known(soc)
            if made_with != version:
                print(f"the list is MindSpore {made_with}'s; not compared with {version}")
                continue
            for line in records.complaints(found, expected, is_whole):
                wrong += 1
                print(f"{soc} {line}")
            for line in records.lower_budget(found, expected):
                print(f"{soc} {line}")
    print("all as it should be" if not wrong else f"{wrong} complaints")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
