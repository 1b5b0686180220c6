"""A task on the OpenI platform (启智社区): its data, its output folder, and the upload at its end.

The platform's package ``c2net`` knows them. It is asked only where the platform's environment says
that this is a task; nowhere else is it needed.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["OpenIError", "Task", "find_task"]

_VARIABLE = "DATA_DOWNLOAD_METHOD"  # set in every task, and nowhere else
# Names of which a mirror of Multi30k holds one; data/fetch_multi30k.sh knows these layouts.
_OF_A_MIRROR = ("data/task1/raw/train.de.gz", "train.de.gz", "train.de", "training.tar.gz")
_DEPTH = 3  # a data set is mounted in a folder of its name, and an archive may hold one more


class OpenIError(RuntimeError):
    """The platform's folders cannot be had; says what c2net says."""


@dataclass(frozen=True)
class Task:
    """Where a task finds its data and leaves its results.

    Args:
        data: the folder in which the chosen data sets are mounted.
        output: the folder that outlives the task.
    """

    data: Path
    output: Path

    def multi30k(self) -> Path | None:
        """The mounted folder that can serve as a mirror of Multi30k, if there is one."""
        folders = [self.data]
        for _ in range(_DEPTH + 1):
            for folder in folders:
                if any((folder / name).is_file() for name in _OF_A_MIRROR):
                    return folder
            folders = sorted(path for folder in folders for path in _inside(folder))
        return None

    def run_folder(self, path: str | Path, is_new: bool = False) -> Path:
        """Where a run folder of that name lies: a relative one in the output folder.

        Args:
            path: as the user gave it. An absolute one stays as it is.
            is_new: whether it is to be written; one to be read may also lie where it says.
        """
        inside = self.output / path
        return inside if is_new or inside.exists() else Path(path)

    def upload(self) -> None:
        """Send the output folder to the platform. (Where it is mounted, it is there already.)

        Raises:
            OpenIError: c2net could not.
        """
        with _explained():
            from c2net.context import upload_output

            upload_output()


def find_task() -> Task | None:
    """The task that this process runs in; None outside of the platform.

    Raises:
        OpenIError: c2net cannot prepare the folders.
    """
    if not os.environ.get(_VARIABLE):
        return None
    try:
        from c2net.context import prepare
    except ImportError:
        print(
            f"step_llm: note: {_VARIABLE} is set, so this is a task on OpenI, but its package is "
            "not installed (pip install c2net): results stay where --out says",
            file=sys.stderr,
        )
        return None
    with _explained():
        context = prepare()
    return Task(Path(context.dataset_path), Path(context.output_path))


@contextlib.contextmanager
def _explained():
    """Without c2net's banner; what it printed is told if it fails."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            yield
    except Exception as error:
        last = said.getvalue().strip().splitlines()[-1:]
        raise OpenIError(
            f"c2net: {error}"
            + (f" ({last[0]})" if last else "")
            + f"; unset {_VARIABLE} to go on without the platform's folders"
        ) from error


def _inside(folder):
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except OSError:
        return []
