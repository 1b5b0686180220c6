"""Parallel text: two files, of which line n of one translates line n of the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from step_llm.runtime.files import data_folder, shipped

__all__ = ["CORPORA", "DataError", "ParallelText", "corpus_folder", "read_parallel"]


CORPORA = ("mini", "multi30k")


class DataError(ValueError):
    """A text that cannot be used, and why, in one line."""


@dataclass(frozen=True)
class ParallelText:
    """Sentences and their translations: target[i] translates source[i].

    Args:
        source, target: the sentences, without line ends; a line may be empty.
        name: where the text is from, for messages.

    Raises:
        DataError: sides of different length.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    name: str = "the text"

    def __post_init__(self):
        if len(self.source) != len(self.target):
            raise DataError(
                f"{self.name} has {len(self.source)} source lines and {len(self.target)} target "
                "lines; expected line n of one to translate line n of the other"
            )

    def __len__(self) -> int:
        return len(self.source)


def corpus_folder(name: str) -> Path:
    """The folder of a corpus: "mini", "multi30k", or a path of your own.

    The named ones lie in ``data_folder()``; where that has no "mini", in the library's own files.
    """
    if name not in CORPORA:
        return Path(name)
    folder = data_folder() / name
    return shipped("data/mini") if name == "mini" and not folder.is_dir() else folder


def read_parallel(
    folder: str | Path, split: str, source: str = "de", target: str = "en"
) -> ParallelText:
    """Read ``folder/split.source`` and ``folder/split.target``, one sentence a line, in UTF-8.

    Args:
        folder: see ``corpus_folder``.
        split: "train", "val" or "test".
        source, target: the languages, which are the endings of the files.

    Raises:
        DataError: a file that is missing, empty or not UTF-8, or different numbers of lines.
    """
    sides = [_read_lines(Path(folder) / f"{split}.{language}") for language in (source, target)]
    return ParallelText(*sides, name=str(Path(folder) / split))


def _read_lines(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        advice = f"expected a folder with such files, or one of {', '.join(CORPORA)}"
        if path.parent == corpus_folder("multi30k"):
            advice = "run `python -m step_llm fetch` to download it"
        others = sorted(other.stem for other in path.parent.glob(f"*{path.suffix}"))
        if others:
            advice = f"the folder has {', '.join(others)}"
        raise DataError(f"there is no file {path}; {advice}")
    content = path.read_bytes()
    if not content.strip():
        raise DataError(f"{path} is empty; expected one sentence a line")
    lines = []
    # Only \n ends a line: str.splitlines knows ten more, and one of them would shift a side.
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), start=1):
        try:
            lines.append(line.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\r"))
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}, line {number}: not UTF-8 (byte {error.start + 1} of the line is "
                f"0x{line[error.start]:02x}); save the file as UTF-8"
            ) from None
    return tuple(lines)
