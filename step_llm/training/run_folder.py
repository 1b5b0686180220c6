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
import tempfile
from pathlib import Path, PurePosixPath

from step_llm.models.fields import check_fields, is_number
from step_llm.models.weights import CheckpointError, read_json, write_json
from step_llm.runtime.files import replacing, shipped
from step_llm.runtime.locks import hold

__all__ = ["RunFolder", "find_checkpoint", "read_run", "write_run"]

_RUN, _LOG = "run.json", "log.jsonl"
_ROLES = ("last", "best", "average")
# The names that a run gives; a file or folder of another name is somebody else's.
_CHECKPOINT = re.compile(r"(step|average)-\d{7,}")
_LEFT_IN_CHECKPOINTS = re.compile(r"\.(step|average)-\d{7,}\.(partial|old)-\d+")
_LEFT_IN_RUN = re.compile(
    r"\.(run\.json|log\.jsonl|history\.png)\.partial-\d+"
    r"|\.probe-\d+|\.log\.partial-\d+|\.history\.partial-\d+\.png"  # an older version's
)


def _is_checkpoint_path(value):
    """A path in the run folder, so that a run.json from elsewhere leads nowhere else."""
    parts = PurePosixPath(value).parts if isinstance(value, str) else ()
    is_plain = len(parts) == 2 and parts[0] == "checkpoints" and parts[1] != ".."
    return is_plain and value.isprintable()


# The fields of run.json.
_RULES = {
    "run": (lambda value: isinstance(value, str) and value != "", "the run's name"),
    **dict.fromkeys(_ROLES, (_is_checkpoint_path, "checkpoints/NAME")),
    "best_value": (is_number, "a number"),
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
                something while no run.json tells of which run, or the log is no plain file.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.path).close()
            is_used = self.checkpoints.is_dir() and any(self.checkpoints.iterdir())
        except OSError as error:
            raise CheckpointError(f"cannot write to the run folder {self.path}: {error}") from error
        if self.checkpoints.is_symlink():
            raise CheckpointError(
                f"{self.checkpoints} is a link; expected a folder of the run's own: remove the "
                "link, or train into another folder"
            )
        log = self.path / _LOG
        if log.is_symlink() or (log.exists() and not log.is_file()):
            # A pipe would be waited for, and a link written through.
            raise CheckpointError(f"{log} is no file of this run; remove it")
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

    def lock(self):
        """A context that holds the folder; the system lets go of it, too, when the process ends.

        Without this, a second training would cut the first one's log, and both would write
        checkpoints. Where the system or the file system has no locks, nothing is held.

        Raises:
            CheckpointError: another training holds it.
        """
        try:
            return hold(self.path)
        except BlockingIOError:
            raise CheckpointError(
                f"another training is writing to {self.path}; wait until it ends, stop it, or "
                "train into another folder"
            ) from None

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
        is_linked = path.is_symlink() or state.is_symlink()
        if "run" not in run or is_linked or not _CHECKPOINT.fullmatch(path.name):
            return False
        try:
            return read_json(state).get("run") == run["run"]
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
        with open(self.path / _LOG, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def cut_log(self, step: int) -> None:
        """Drop what the log tells of things that no checkpoint has: they will be made again."""
        path = self.path / _LOG
        if not path.exists():
            return
        is_averaged, kept = self.is_averaged(step), []
        for line in path.read_bytes().splitlines():
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):  # a kill has cut it off
                continue
            at = entry.get("step") if isinstance(entry, dict) else None
            if not isinstance(at, int) or at > step:
                continue
            if at < step or is_averaged or entry.get("event") != "average":
                kept.append(line + b"\n")
        with replacing(path) as partial:
            partial.write_bytes(b"".join(kept))


def find_checkpoint(folder: str | Path, which: str = "best") -> Path:
    """The folder itself if it is a checkpoint, else the best (or "last") one of the run in it.

    "mini" is the translator that comes with the library, unless there is a folder of this name.

    Raises:
        CheckpointError: neither a checkpoint nor a run, or a run without that checkpoint.
    """
    folder = Path(folder)
    if folder == Path("mini") and not folder.exists():
        folder = shipped("data/translator")
    if (folder / "model.safetensors").is_file():
        return folder
    run = read_run(folder)
    if which not in run and "last" in run:  # it was stopped before the first epoch's end
        raise CheckpointError(
            f"{folder} has no {which} checkpoint yet; `step_llm resume {folder}` ends an epoch, or "
            f"take its last one, {folder / run['last']}"
        )
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
        unknown = sorted(set(run) - set(_RULES))
        if unknown:
            raise ValueError(f"it has an unknown field {unknown[0]!r}")
        check_fields(run, _RULES)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    return run


def write_run(folder: str | Path, run: dict) -> None:
    """Replace what ``read_run`` reads, in one step.

    Raises:
        CheckpointError: the file cannot be written; the old one is then still whole.
    """
    path = Path(folder) / _RUN
    try:
        with replacing(path) as partial:
            write_json(partial, run)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error}") from error
