"""What was launched on the stand-in for CANN, and what the checked-in files say of it.

``operators/SOC.txt`` holds every kernel that the library launches on a chip, with type and rank of
each of its tensors. ``launches.json`` holds how many kernels a step of each case launches, and how
many of these go through CANN's older interface (aclop): a budget that only falls.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

__all__ = ["Record", "Step", "complaints", "known", "lower_budget", "read", "write"]

_HERE = Path(__file__).resolve().parent
_BUDGET = _HERE / "launches.json"


class Step(NamedTuple):
    """How many kernels one step launches, and how many of them through aclop."""

    launches: int
    aclop: int


class Record(NamedTuple):
    """Kernels with types and ranks, and each case's step."""

    operators: frozenset
    steps: dict


def read(path: str | Path) -> Record:
    """A file that the stand-in has written.

    Raises:
        ValueError: it holds a kernel whose arguments could not be read, or none at all.
    """
    path = Path(path)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    operators, launched, case = set(), {}, None
    for line in lines:
        if line.startswith("unread"):
            raise ValueError(f"the stand-in found no end of the arguments: {line}")
        if line.startswith("# "):
            case = None if line == "# end" else line[2:]
            if case:
                launched[case] = []
            continue
        operators.add(line)
        if case:
            launched[case].append(line.startswith("aclop"))
    if not operators:
        raise ValueError(f"{path} holds no launch of a kernel")
    steps = {case: Step(len(legacy), sum(legacy)) for case, legacy in launched.items()}
    return Record(frozenset(operators), steps)


def _operators(soc):
    return _HERE / "operators" / f"{soc}.txt"


def known(soc: str) -> tuple[str, Record]:
    """The version of MindSpore with which the checked-in files were made, and what they hold."""
    lines = _operators(soc).read_text(encoding="utf-8").splitlines()
    budget = json.loads(_BUDGET.read_text(encoding="utf-8")).get(soc, {})
    steps = {case: Step(*numbers) for case, numbers in budget.items()}
    version = lines[0].split("MindSpore ")[1].split(",")[0]
    return version, Record(frozenset(lines[1:]), steps)


def complaints(found: Record, expected: Record, is_whole: bool) -> list[str]:
    """In what a record is not what the checked-in files say, a line each.

    Args:
        is_whole: whether every case was run, so that kernels can be missing too.
    """
    lines = [f"not in the list: {line}" for line in sorted(found.operators - expected.operators)]
    if is_whole:
        missing = sorted(expected.operators - found.operators)
        lines += [f"in the list, and launched by nothing: {line}" for line in missing]
    for case, step in sorted(found.steps.items()):
        if case not in expected.steps:
            lines.append(f"{case} has no budget in {_BUDGET.name}")
            continue
        for name, number, budget in zip(Step._fields, step, expected.steps[case]):
            if number > budget:
                lines.append(f"{case}: {number} {name} in a step; the budget is {budget}")
    return lines


def lower_budget(found: Record, expected: Record) -> list[str]:
    """Where the budget could be lowered, a line each."""
    return [
        f"{case}: {number} {name} in a step; lower its budget of {budget} in {_BUDGET.name}"
        for case, step in sorted(found.steps.items())
        for name, number, budget in zip(Step._fields, step, expected.steps.get(case, step))
        if number < budget
    ]


def write(soc: str, version: str, found: Record, is_whole: bool) -> None:
    """Make the checked-in files say what was found; of a run of some cases, theirs alone."""
    path = _operators(soc)
    operators = set(found.operators)
    if not is_whole and path.is_file():
        operators |= known(soc)[1].operators
    head = f"# {soc}, MindSpore {version}, written by: python -m tests.ascend.run --write"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([head, *sorted(operators), ""]), encoding="utf-8")
    budget = json.loads(_BUDGET.read_text(encoding="utf-8")) if _BUDGET.is_file() else {}
    steps = {} if is_whole else budget.get(soc, {})
    budget[soc] = {**steps, **{case: list(step) for case, step in found.steps.items()}}
    lines = []
    for chip in sorted(budget):
        cases = [f'    "{c}": {json.dumps(n)}' for c, n in sorted(budget[chip].items())]
        lines.append(f'  "{chip}": {{\n' + ",\n".join(cases) + "\n  }")
    _BUDGET.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
