"""The attention explorer: a page on which one points at a token to see where it looks.

Letters: L layers, H heads, T tokens that look, S tokens that are looked at.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from step_llm.runtime.language import language

__all__ = ["AttentionExplorer", "AttentionMap"]

_PAGE = Path(__file__).with_name("explorer.html")
_CHINESE = Path(__file__).with_name("zh.json")


class AttentionMap(NamedTuple):
    """One kind of attention on one sentence, in every layer and head.

    Args:
        name: of the kind, for example "cross-attention".
        queries, keys: T and S labels: the tokens that look, and those that are looked at.
        weights: (L, H, T, S); each row sums to 1.
        text: a sentence that says what looks at what.
    """

    name: str
    queries: Sequence[str]
    keys: Sequence[str]
    weights: np.ndarray
    text: str = ""


class AttentionExplorer:
    """Shows attention maps in a notebook or a browser: every layer, every head, token by token.

    As the value of a cell it is a frame of its own, so several can stand in one notebook. The page
    asks for nothing from outside. Weights are rounded to a thousandth. The page speaks the reader's
    language, names and texts of maps included where the table zh.json knows them.

    Args:
        maps: what can be looked at; the first is shown first.
        title: above the page.

    Raises:
        ValueError: no map, or weights that are not (L, H, T, S).
    """

    def __init__(self, maps: Sequence[AttentionMap], title: str = "Attention"):
        self.maps, self.title = list(maps), title
        if not self.maps:
            raise ValueError("there are no maps; expected at least one AttentionMap")
        for one in self.maps:
            shape = np.shape(one.weights)
            if len(shape) != 4 or shape[2:] != (len(one.queries), len(one.keys)):
                raise ValueError(
                    f"the weights of {one.name} have shape {shape}; expected (L, H, T, S) with "
                    f"(T, S) = ({len(one.queries)}, {len(one.keys)})"
                )

    def page(self) -> str:
        """The whole page as HTML."""
        is_chinese = language() == "zh"
        words = json.loads(_CHINESE.read_text(encoding="utf-8")) if is_chinese else {}
        maps = []
        for one in self.maps:
            weights = np.rint(1000 * np.asarray(one.weights)).astype(int)
            # Whole texts alone are looked up: a title may be any sentence.
            said = {"name": words.get(one.name, one.name), "text": words.get(one.text, one.text)}
            maps.append({**one._asdict(), **said, "weights": weights.tolist()})
        title = words.get(self.title, self.title)
        data = json.dumps({"title": title, "maps": maps, "words": words}, separators=(",", ":"))
        # No token can end the script that holds it.
        data = data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
        page = _PAGE.read_text(encoding="utf-8")
        return page.replace("$language", "zh-CN" if is_chinese else "en").replace("$data", data)

    def save(self, path: str | Path) -> None:
        """Write the page to a file."""
        Path(path).write_text(self.page(), encoding="utf-8")

    def _repr_html_(self):
        longest = max(max(len(one.queries), len(one.keys)) for one in self.maps)
        layers = max(np.shape(one.weights)[0] for one in self.maps)
        height = 240 + max(28 * longest + 20, 46 * layers)
        return (
            f'<iframe title="{html.escape(self.title)}" sandbox="allow-scripts" '
            f'style="width: 100%; height: {height}px; border: 0" '
            f'srcdoc="{html.escape(self.page())}"></iframe>'
        )

    def __repr__(self):
        sizes = [f"{one.name} {np.shape(one.weights)}" for one in self.maps]
        return f"AttentionExplorer of {', '.join(sizes)}"
