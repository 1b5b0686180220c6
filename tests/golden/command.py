"""The command line that the makers of golden files share."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch


def run(what: str, folder: Path, check, write) -> int:
    """Make the files, or with --check compare them with new ones; the exit status.

    Args:
        what: the files' name in the help.
        folder: where they are, unless --folder says otherwise.
        check, write: called with that folder; each returns the exit status.
    """
    parser = argparse.ArgumentParser(description=f"Make or check the golden {what}.")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    parser.add_argument("--folder", type=Path, default=folder, help="where they are")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    return check(arguments.folder) if arguments.check else write(arguments.folder)
