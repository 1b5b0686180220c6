"""What pyproject.toml cannot say: files from beside the package go into it when it is installed.

They lie where a reader of the project expects them; ``step_llm/runtime/files.py`` finds them in
either place.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SHIPPED = (
    "data/mini/*",
    "data/novels/*.txt",
    "data/novels/README.md",
    "data/reviews/*",  # the licence beside the texts
    "data/translator/*",
    "data/fetch_multi30k.sh",
    "data/download.sh",
    "data/multi30k.sources",
    "data/multi30k.sha256",
    "tests/golden/*.npz",  # `python -m step_llm check` compares with them
)


class BuildWithFiles(build_py):
    """Copies them to step_llm/_shipped/, under the paths that they have in the project."""

    def run(self):
        super().run()
        if not self.editable_mode:  # an editable package lies in its checkout
            for source, copy in self._copies():
                self.mkpath(str(copy.parent))
                self.copy_file(str(source), str(copy))

    def get_outputs(self, include_bytecode=True):
        copies = [] if self.editable_mode else [str(copy) for _, copy in self._copies()]
        return [*super().get_outputs(include_bytecode), *copies]

    def _copies(self):
        inside = Path(self.build_lib) / "step_llm" / "_shipped"
        for pattern in SHIPPED:
            found = sorted(path for path in ROOT.glob(pattern) if path.is_file())
            if not found:
                raise FileNotFoundError(f"the package needs {pattern}, but {ROOT} has none")
            for path in found:
                yield path, inside / path.relative_to(ROOT)


setup(cmdclass={"build_py": BuildWithFiles})
