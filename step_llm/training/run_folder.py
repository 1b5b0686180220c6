"""A run's folder: its lock, its log, and which checkpoint is the last, the best, the average.

A run folder holds ``checkpoints/``, ``run.json``, which names them, ``log.jsonl`` (a line for each
update, epoch and average) and ``history.png``. ``run.json`` also holds the run's own random name,
which every checkpoint of the run holds too: what does not, is never removed.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import shutil
import stat
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from step_llm.models.weights import CheckpointError, flush, read_json, write_json

__all__ = ["RunFolder", "find_checkpoint", "read_run", "write_run"]


try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_RUN = "run.json"
_ROLES = ("last", "best", "average")
# The names that a run gives; a file or folder of another name is somebody else's.
_CHECKPOINT = re.compile(r"(step|average)-\d{7,}")
_LEFT_IN_CHECKPOINTS = re.compile(r"\.(step|average)-\d{7,}\.(partial|old)-\d+")
_LEFT_IN_RUN = re.compile(r"\.(run\.json|log)\.partial-\d+|\.history\.partial-\d+\.png|\.probe-\d+")


def _is_checkpoint_path(value):
    """A path in the run folder, so that a run.json from elsewhere leads nowhere else."""
    parts = PurePosixPath(value).parts if isinstance(value, str) else ()
    return len(parts) == 2 and parts[0] == "checkpoints" and parts[1] != ".."


# The fields of run.json: what each must be, and how to say so.
_FIELDS = {
    "run": (lambda value: isinstance(value, str) and value != "", "the run's name"),
    **dict.fromkeys(_ROLES, (_is_checkpoint_path, "checkpoints/NAME")),
    "best_value": (lambda value: type(value) in (int, float) and value == value, "a number"),
}


class RunFolder:
    """The folder of one run, for the process that trains.

    Args:
        path: of the folder; it may not exist yet.

    Raises:
        CheckpointError: an empty path.
    """

    def __init__(self, path: str | Path):
        if not str(path):
            raise CheckpointError(
                "the run folder's name is empty; name a folder (. is the current one)"
            )
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"

    def make(self) -> None:
        """Make the folder, and see that a run can write here and has nothing of others in its way.

        Raises:
            CheckpointError: it cannot be written, or ``checkpoints`` is a link, or it holds
                something while no run.json tells of which run.
        """
        probe = self.path / f".probe-{os.getpid()}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
            is_used = self.checkpoints.is_dir() and any(self.checkpoints.iterdir())
        except OSError as error:
            raise CheckpointError(f"cannot write to the run folder {self.path}: {error}") from error
        if self.checkpoints.is_symlink():
            raise CheckpointError(
                f"{self.checkpoints} is a link; expected a folder of the run's own: remove the "
                "link, or train into another folder"
            )
        if is_used and not read_run(self.path):
            raise CheckpointError(
                f"{self.checkpoints} is not empty, and no {self.path / _RUN} tells of which run it "
                "is; move it away, or train into another folder"
            )

    def begin(self, is_new: bool, best_value: float | None = None) -> str:
        """Give the run its name if it has none, before its first checkpoint; returns the name.

        Args:
            is_new: whether training starts from nothing.
            best_value: the best checkpoint's, if run.json does not tell: it is of an older version.

        Raises:
            CheckpointError: as ``make``; or training is new, but the folder has a run already.
        """
        self.make()
        run = read_run(self.path)
        if is_new and "last" in run:
            raise CheckpointError(
                f"{self.path} already holds a training run; go on with it (resume), or train into "
                "another folder"
            )
        named = {"run": secrets.token_hex(8), **run}
        if "best" in run and best_value is not None:
            named.setdefault("best_value", best_value)
        if named != run:
            write_run(self.path, named)
        return named["run"]

    @contextmanager
    def lock(self):
        """Hold the folder while training writes to it. The system lets go when the process ends.

        Without this, a second training would cut the first one's log, and both would write
        checkpoints. Where the system or the file system has no locks, nothing is held.

        Raises:
            CheckpointError: another training holds it.
        """
        if fcntl is None:
            yield
            return
        held = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CheckpointError(
                    f"another training is writing to {self.path}; wait until it ends, stop it, or "
                    "train into another folder"
                ) from None
            except OSError:  # a file system without locks
                pass
            yield
        finally:
            os.close(held)

    def checkpoint(self, kind: str, step: int) -> Path:
        """Where the checkpoint "step" or "average" after so many updates lies, or will."""
        return self.checkpoints / f"{kind}-{step:07d}"

    def is_averaged(self, step: int) -> bool:
        """Whether run.json's average is the one after so many updates."""
        return read_run(self.path).get("average") == f"checkpoints/average-{step:07d}"

    def record(self, path: Path, value: float | None = None, sign: int = 1) -> None:
        """Write into run.json that a checkpoint is the last, or the average.

        Args:
            path: of the checkpoint, from ``checkpoint``.
            value: its value on validation. It is also the best if that is better than the best's;
                an average also if it is as good.
            sign: 1 where more is better, −1 where less is.
        """
        name = f"checkpoints/{path.name}"
        role = "average" if path.name.startswith("average") else "last"
        run = {**read_run(self.path), role: name}
        if value is not None:
            ahead = sign * (value - run["best_value"]) if "best" in run else math.inf
            if ahead > 0 or (ahead == 0 and role == "average"):
                run.update(best=name, best_value=value)
        write_run(self.path, run)

    def remove_others(self, needed) -> None:
        """Remove this run's checkpoints but those that run.json names, and what a kill left.

        Args:
            needed: paths of further checkpoints to keep.
        """
        run = read_run(self.path)
        kept = {*needed, *(self.path / run[role] for role in _ROLES if role in run)}
        for path in [*self.checkpoints.iterdir()] if self.checkpoints.is_dir() else ():
            if path not in kept and self._is_of(run, path):
                # Renamed first: a kill must not leave half a checkpoint under its own name.
                old = path.with_name(f".{path.name}.old-{os.getpid()}")
                path.rename(old)
                shutil.rmtree(old, ignore_errors=True)
        self._remove_leftovers()

    def _is_of(self, run, path):
        """Whether a path is provably a checkpoint of this run: by its name, and by its marker."""
        state = path / "state.json"
        try:
            is_plain = stat.S_ISDIR(path.lstat().st_mode) and stat.S_ISREG(state.lstat().st_mode)
            return (
                _CHECKPOINT.fullmatch(path.name) is not None
                and is_plain
                and "run" in run
                and read_json(state).get("run") == run["run"]
            )
        except (OSError, ValueError):
            return False

    def _remove_leftovers(self):
        """What a killed process was writing aside, or removing."""
        for path in self.checkpoints.glob(".*"):
            if _LEFT_IN_CHECKPOINTS.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)
        for path in self.path.glob(".*"):
            if _LEFT_IN_RUN.fullmatch(path.name) and not path.is_dir():
                path.unlink(missing_ok=True)

    def log(self, **entry) -> None:
        """Add a line to the log."""
        with open(self.path / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def read_log(self) -> list[dict]:
        """The log's lines; one that a kill cut off is left out."""
        path, entries = self.path / "log.jsonl", []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            entries += [entry] if isinstance(entry, dict) else []
        return entries

    def cut_log(self, step: int) -> None:
        """Drop what the log tells of things that no checkpoint has: they will be made again."""
        path = self.path / "log.jsonl"
        if not path.exists():
            return
        is_averaged = self.is_averaged(step)
        kept = [
            entry
            for entry in self.read_log()
            if entry.get("step", step + 1) <= step
            and (is_averaged or entry["step"] < step or entry.get("event") != "average")
        ]
        partial = path.with_name(f".log.partial-{os.getpid()}")
        partial.write_text("".join(json.dumps(e) + "\n" for e in kept), encoding="utf-8")
        os.replace(partial, path)


def find_checkpoint(folder: str | Path, which: str = "best") -> Path:
    """The folder itself if it is a checkpoint, else the best (or "last") one of the run in it.

    Raises:
        CheckpointError: neither a checkpoint nor a run, or a run without that checkpoint.
    """
    folder = Path(folder)
    if (folder / "model.safetensors").is_file():
        return folder
    run = read_run(folder)
    if which not in run:
        raise CheckpointError(
            f"{folder} holds no checkpoint; expected a folder that `step_llm train --out` has made"
        )
    return folder / run[which]


def read_run(folder: str | Path) -> dict:
    """What ``run.json`` says; empty if there is no such file.

    Returns:
        of these, what is known: the run's own name "run", the paths of its "last", "best" and
        "average" checkpoints, and the best one's value on validation, "best_value".

    Raises:
        CheckpointError: a damaged file, or a field of another kind; both are named.
    """
    path = Path(folder) / _RUN
    if not path.exists():
        return {}
    try:
        run = read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    for name, value in run.items():
        if name not in _FIELDS:
            raise CheckpointError(f"cannot read {path}: it has an unknown field {name!r}")
        is_right, expected = _FIELDS[name]
        if not is_right(value):
            raise CheckpointError(f"cannot read {path}: {name} is {value!r}; expected {expected}")
    return run


def write_run(folder: str | Path, run: dict) -> None:
    """Replace what ``read_run`` reads, in one step.

    Raises:
        CheckpointError: the file cannot be written; the old one is then still whole.
    """
    path = Path(folder) / _RUN
    partial = path.with_name(f".{_RUN}.partial-{os.getpid()}")
    try:
        write_json(partial, run)
        flush(partial)
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write {path}: {error}") from error
