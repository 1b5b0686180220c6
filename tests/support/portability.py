"""Whether the library's graphs can run elsewhere: the operators they use, and what MindSpore
declares of them. Nothing here needs the hardware.

MindSpore saves the intermediate representation of each graph that it compiles. The one after its
optimisations and before any device has a part in it is read here: its operators are what every
device gets.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import mindspore as ms

__all__ = [
    "PLATFORMS",
    "UNDECLARED",
    "StandIn",
    "compiled_graphs",
    "declared_platforms",
    "operators_of",
    "saved_graphs",
    "undeclared",
]

PLATFORMS = ("Ascend", "CPU", "GPU")

# Nodes of a graph that compute nothing: they order, group and call.
_STRUCTURE = frozenset(
    "call Depend J Load MakeTuple Partial Return Switch SwitchLayer TupleGetItem UpdateState "
    "make_list make_keyword_arg DictGetItem".split()
)
_NODE = re.compile(r"^\s*%\w+\([^)]*\) = (?:PrimFunc_|S_Prim_|Primitive::)?([A-Za-z_]\w*)\(", re.M)
_DECLARED = re.compile(r"Supported Platforms:\s*\n\s*\n?\s*((?:``\w+``[ ,]*)+)")
_REFERENCE = re.compile(r"Refer to :(?:func|class):`(mindspore\.[\w.]+)`")

# A gradient has no page of its own: it is declared with the operator whose gradient it is.
_GRADIENT_OF = {
    "BiasAddGrad": "BiasAdd",
    "DropoutGrad": "Dropout",
    "GatherDGradV2": "GatherD",
    "GeLUGrad": "GeLU",
    "LayerNormGrad": "LayerNorm",
    "LogSoftmaxGrad": "LogSoftmax",
    "ReluGrad": "ReLU",
    "RsqrtGrad": "Rsqrt",
    "SoftmaxBackward": "Softmax",
    "StridedSliceGrad": "StridedSlice",
    "TanhGrad": "Tanh",
}


class StandIn(NamedTuple):
    """An operator without a declaration of its own that is used all the same.

    Args:
        declared_by: the public name whose declaration counts in its place.
        reason: why it is in the graph, and why that is right.
        replacement: what to write if a device should refuse it.
    """

    declared_by: str
    reason: str
    replacement: str


_FALLBACK = (
    "Where a device has no kernel of that name, MindSpore's fallback builder puts plain operators "
    "in its place before the kernels are chosen; the CPU's final graph shows them."
)
UNDECLARED = {
    "LessScalar": StandIn(
        "mindspore.ops.less",
        f"What a comparison with a number becomes, in amp.all_finite. {_FALLBACK}",
        "a constant tensor in place of the number",
    ),
    "MatMulExt": StandIn(
        "mindspore.ops.matmul",
        f"What ops.matmul is in the graph since MindSpore 2.5. {_FALLBACK}",
        "ops.MatMul()",
    ),
    "Muls": StandIn(
        "mindspore.ops.mul",
        f"What a tensor times a Python number becomes. {_FALLBACK}",
        "a constant tensor in place of the number",
    ),
    "SplitWithSize": StandIn(
        "mindspore.ops.split",
        f"The gradient of ops.concat, which rotary positions use. {_FALLBACK}",
        "a product with a constant matrix that turns the halves",
    ),
    "SumExt": StandIn(
        "mindspore.ops.sum",
        f"The gradient of a sum that broadcasts, as that of learned positions. {_FALLBACK}",
        "ops.tile before the sum",
    ),
}


@contextmanager
def saved_graphs(folder: str | Path):
    """Let MindSpore write what it compiles inside this block to ``folder``; read it with
    ``operators_of`` and ``compiled_graphs``."""
    ms.set_context(save_graphs=1, save_graphs_path=str(folder))
    try:
        yield
    finally:
        ms.set_context(save_graphs=0)


def compiled_graphs(folder: str | Path) -> list[Path]:
    """A file for each graph that was compiled while graphs were saved to ``folder``."""
    return sorted(Path(folder).rglob("*validate_*.ir"))


def operators_of(folder: str | Path) -> set[str]:
    """The names of the operators in the graphs saved to ``folder``.

    Raises:
        ValueError: no graph there; an empty set would pass every check.
    """
    paths = compiled_graphs(folder)
    found = {name for path in paths for name in _NODE.findall(path.read_text(encoding="utf-8"))}
    if not found:
        raise ValueError(
            f"{folder} holds no operator of a compiled graph ({len(paths)} graphs); expected what "
            "MindSpore writes there inside saved_graphs()"
        )
    return found - _STRUCTURE


def declared_platforms(name: str) -> frozenset[str]:
    """The platforms for which the installed MindSpore declares an operator or a public name.

    Args:
        name: an operator of a graph ("MatMul"), or a name with dots ("mindspore.ops.matmul").

    Returns:
        what stands under «Supported Platforms» in its documentation, in that of the function it
        refers to, or, for a gradient, in that of its operator. Empty where nothing is declared.
    """
    documentation = _documentation(name)
    declaration = _DECLARED.search(documentation)
    if declaration:
        return frozenset(re.findall(r"\w+", declaration.group(1)))
    reference = _REFERENCE.search(documentation)
    if reference and reference.group(1) != name:
        return declared_platforms(reference.group(1))
    if name in _GRADIENT_OF:
        return declared_platforms(_GRADIENT_OF[name])
    return frozenset()


def undeclared(operators, stand_ins=None) -> list[str]:
    """One line for each operator that MindSpore does not declare for all of ``PLATFORMS``.

    Args:
        operators: their names.
        stand_ins: exceptions; default: ``UNDECLARED``.
    """
    stand_ins = UNDECLARED if stand_ins is None else stand_ins
    lines = []
    for name in sorted(operators):
        source = stand_ins[name].declared_by if name in stand_ins else name
        missing = sorted(set(PLATFORMS) - declared_platforms(source))
        if missing:
            lines.append(
                f"{name} is not declared for {', '.join(missing)} by MindSpore {ms.__version__}; "
                "use another operator, or name its stand-in in portability.UNDECLARED"
            )
    return lines


def _documentation(name):
    if "." in name:
        module, _, attribute = name.rpartition(".")
        try:
            return getattr(import_module(module), attribute).__doc__ or ""
        except (ImportError, AttributeError):
            return ""
    texts = []
    for module in (
        "mindspore.ops.operations",
        "mindspore.ops.auto_generate",
        "mindspore.ops.operations._grad_ops",
        "mindspore.ops.operations._inner_ops",
    ):
        found = getattr(import_module(module), name, None)
        texts.append((isinstance(found, type) and found.__doc__) or "")
    # Some operators have two classes, of which only one is documented.
    return next((text for text in texts if _DECLARED.search(text)), max(texts, key=len))
