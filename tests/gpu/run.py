"""Run the library's cases on a stand-in for CUDA, and hold the kernels against the list.

    python -m tests.gpu.run                    # every case: `make test-gpu`
    python -m tests.gpu.run gpt vit/float32    # these models, or cases
    python -m tests.gpu.run --write            # write the list anew

It needs no GPU; what it shows and what it does not is in docs/devices.md.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
import tempfile
from pathlib import Path

from tests.gpu.build import backed_off, build, environment, plain_name, why_not
from tests.support.stand_in import chosen, one_after_another, output_of, passed

__all__ = ["LIST", "known", "run_cases"]

LIST = Path(__file__).resolve().parent / "kernels.txt"


def run_cases(home: Path, names, say=print) -> tuple[dict[str, str], set[str]]:
    """Run cases one after another; a process for each model.

    Args:
        home: what ``build`` returned.
        names: of cases.
        say: called with a line for each case.

    Returns:
        for each case that did not reach its end the last lines of its process; and the kernels that
        were asked for. One that MindSpore took from the CPU begins with "cpu".
    """
    symbols, found = set(), set()

    def run(left):
        with tempfile.TemporaryDirectory() as folder:
            record = Path(folder, "kernels")
            command = [sys.executable, "-m", "tests.gpu.cases", *left]
            output = output_of(command, {**os.environ, **environment(home, record)}, folder)
            if record.is_file():
                symbols.update(record.read_text(encoding="ascii").split())
        found.update(f"cpu {name}" for name in backed_off(output))
        lines = output.splitlines()
        return passed(lines), "\n".join(lines[-20:])

    failed = one_after_another(names, run, say)
    return failed, found | set(plain_name(sorted(symbols)))


def known() -> tuple[str, set[str]]:
    """The version of MindSpore with which the list was made, and its kernels."""
    first, *lines = LIST.read_text(encoding="utf-8").splitlines()
    return first.split("MindSpore ")[1].split(",")[0], set(lines)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("cases", nargs="*", help="models or cases; default: all")
    parser.add_argument("--write", action="store_true", help="write the list instead of comparing")
    options = parser.parse_args(arguments)
    if why_not():
        print(f"cannot run: {why_not()}", file=sys.stderr)
        return 2
    from tests.gpu.cases import CASES

    version = importlib.metadata.version("mindspore")
    names = chosen(CASES, options.cases)
    with tempfile.TemporaryDirectory() as folder:
        failed, found = run_cases(build(folder), names, say=lambda line: print(line, flush=True))
    wrong = len(failed)
    if options.write:
        if options.cases and LIST.is_file():
            found |= known()[1]
        head = f"# MindSpore {version}, written by: python -m tests.gpu.run --write"
        LIST.write_text("\n".join([head, *sorted(found), ""]), encoding="utf-8")
    elif known()[0] != version:
        print(f"the list is MindSpore {known()[0]}'s; not compared with {version}")
    else:
        expected = known()[1]
        told = [f"not in the list: {name}" for name in sorted(found - expected)]
        if not options.cases and not failed:
            missing = sorted(expected - found)
            told += [f"in the list, and asked for by nothing: {name}" for name in missing]
        print(*told, sep="\n")
        wrong += len(told)
    print("all as it should be" if not wrong else f"{wrong} complaints")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
