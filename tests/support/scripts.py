"""Scripts that are no modules of a package, as modules: what lies in tools/, data/, notebooks/."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

__all__ = ["load_script"]


def load_script(path: str | Path) -> ModuleType:
    """Run a script's file as a module of its own, anew at each call."""
    name = f"script_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses ask for it
    spec.loader.exec_module(module)
    return module
