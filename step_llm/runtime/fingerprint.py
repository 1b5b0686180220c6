"""A name for all that a compiled function depends on: its code, and every value that it can reach.

MindSpore compiles a function together with what it finds on the way: the attributes of the Cell,
the variables of closures and modules, the functions and classes behind them. Two functions with the
same fingerprint compile to the same graph. What cannot be read is refused, never left out.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import inspect
import os
import sys
import types

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

__all__ = ["Unreadable", "fingerprint"]

# Code of these is known by its version; of everything else the code itself is read.
_VERSIONED = {"mindspore", "numpy", "builtins"}
_VERSIONED |= set(
    getattr(sys, "stdlib_module_names", ())  # Python 3.9 has no such list, but a folder
    or {name.partition(".")[0] for name in os.listdir(os.path.dirname(os.__file__))}
)

# Of a Cell, what differs from one process or call to the next, and in no graph.
_VOLATILE = {
    "__compile_cell_hook__", "__parse_method__", "_cell_init_args", "_compile_cache",
    "_compile_phase", "_compiled", "_create_time", "_exist_names", "_exist_objs",
    "_has_mutable_args_list", "_id", "_init_flag", "_is_check_and_refresh",
    "_lazy_construct_sig", "_mutable_flags", "_phase_cache", "_scope", "arguments_key",
    "cell_init_args", "compile_cache", "compile_phase", "current_phase", "sequence_modified",
}  # fmt: skip
# Of a class, what no compiled code reads. __init__ has done its work: what it left is read.
_NO_CODE = {
    "__annotations__", "__dataclass_fields__", "__dataclass_params__", "__dict__", "__doc__",
    "__firstlineno__", "__init__", "__match_args__", "__module__", "__post_init__",
    "__static_attributes__", "__weakref__",
}  # fmt: skip
_DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType)
# What MindSpore's gradient functions remember of the last function that they were asked for.
_OF_GRADIENTS = {"grad_fn", "fn", "weights_id", "grad_position", "pynative_", "grad_hash_id"}
# These draw a seed while they are compiled: a graph of an earlier process would have another.
_DRAWS = {"dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"}


_BUILTIN = (
    types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
)  # fmt: skip
_CONTAINERS = (dict, list, tuple, set, frozenset)


class Unreadable(TypeError):
    """A value whose content cannot be told, so that a stored graph could be another function's."""


def fingerprint(*values) -> tuple[str, list[Parameter]]:
    """The SHA-256 of everything that is reached from some values, and the Parameters among it.

    A Parameter counts by name, shape and type: its numbers are no part of a graph. Every other
    Tensor or array counts by its numbers.

    Raises:
        Unreadable: something among it cannot be read; names it.
    """
    walk = _Walk()
    for value in values:
        walk.add(value)
    return walk.sum.hexdigest(), walk.parameters


def _is_versioned(name):
    return (name or "").partition(".")[0] in _VERSIONED


class _Walk:
    """Reads values into one sum; what was met before counts by its number."""

    def __init__(self):
        self.sum = hashlib.sha256()
        self.numbers = {}  # of id(value)
        self.met = []  # alive, so that no id is given twice
        self.parameters = []

    def token(self, *parts):
        for part in parts:
            data = part if isinstance(part, bytes) else str(part).encode()
            self.sum.update(b"%d:" % len(data))
            self.sum.update(data)

    def add(self, value):
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
            self.token(type(value).__name__, repr(value))
        elif id(value) in self.numbers:
            self.token("again", self.numbers[id(value)])
        else:
            self.numbers[id(value)] = len(self.met)
            self.met.append(value)
            self._add_new(value)
            if isinstance(value, _CONTAINERS):  # MindSpore copies these; they count by content
                del self.numbers[id(value)]

    def _add_new(self, value):
        kind = type(value)
        if isinstance(value, Parameter):
            self.parameters.append(value)
            self.token("parameter", value.name, value.shape, value.dtype, value.requires_grad)
        elif isinstance(value, Tensor):
            self.token("tensor", value.dtype)
            self.add(value.asnumpy())
        elif isinstance(value, (np.ndarray, np.generic)):
            if value.dtype.hasobject:
                raise Unreadable(f"an array of {value.dtype}")
            self.token("array", value.dtype, value.shape, np.ascontiguousarray(value).tobytes())
        elif isinstance(value, (dict, types.MappingProxyType)):
            self._add_all(kind.__name__, (part for item in value.items() for part in item))
        elif isinstance(value, (list, tuple)):
            self._add_all(kind.__name__, value)
            self.add(getattr(value, "__ms_mutable__", None))
        elif isinstance(value, (set, frozenset)):
            self._add_all(kind.__name__, sorted(value, key=repr))
        elif isinstance(value, enum.Enum):
            self.token("enum", kind.__qualname__, value.name)
        elif isinstance(value, type):
            self._add_class(value)
        elif isinstance(value, types.ModuleType):
            self.token("module", value.__name__)
        elif isinstance(value, types.MethodType):
            self._add_all("method", (value.__func__, value.__self__))
        elif isinstance(value, functools.partial):
            self._add_all("partial", (value.func, value.args, value.keywords))
        elif isinstance(value, (staticmethod, classmethod)):
            self._add_all(kind.__name__, (value.__func__,))
        elif isinstance(value, property):
            self._add_all("property", (value.fget,))
        elif isinstance(value, types.FunctionType):
            self._add_function(value)
        elif isinstance(value, _BUILTIN):
            self.token("builtin", getattr(value, "__module__", None), value.__qualname__)
        elif isinstance(value, os.PathLike):
            self.token("path", os.fspath(value))
        elif isinstance(value, (np.dtype, range, slice, type(Ellipsis))):
            self.token(kind.__name__, value)
        elif kind.__module__.startswith("mindspore._c_expression") and not vars_of(value):
            if " at 0x" in str(value):  # a graph that was loaded: an address says nothing
                raise Unreadable(f"a value of {kind.__module__}.{kind.__qualname__}")
            self.token(kind.__qualname__, value)  # a data type: its name says it all
        else:
            self._add_object(value)

    def _add_all(self, name, values):
        values = list(values)
        self.token(name, len(values))
        for value in values:
            self.add(value)

    def _add_object(self, value):
        kind, state = type(value), vars_of(value)
        if state is None:
            raise Unreadable(f"a value of {kind.__module__}.{kind.__qualname__}")
        self.add(kind)
        if isinstance(value, nn.Cell):
            state = {name: part for name, part in state.items() if not _is_volatile(name, part)}
        elif isinstance(value, (ops.Primitive,)):
            self.token(value.name)
        elif kind.__module__ == "mindspore.ops.composite.base":
            state = {name: part for name, part in state.items() if name not in _OF_GRADIENTS}
        self._add_all("object", (part for item in sorted(state.items()) for part in item))

    def _add_class(self, value):
        self.token("class", value.__module__, value.__qualname__)
        # A class inside a function may hold what it was made of: MindSpore's constexpr does.
        if _is_versioned(value.__module__) and "<locals>" not in value.__qualname__:
            return
        self._add_all("bases", value.__bases__)
        for name, part in sorted(vars(value).items()):
            if name not in _NO_CODE and not isinstance(part, _DESCRIPTORS):
                self.token(name)
                self.add(part)

    def _add_function(self, value):
        if getattr(value, "__wrapped_by_jit__", False):
            value = inspect.unwrap(value)  # the wrapper holds the time at which it was made
        module = value.__module__ or ""
        if module.startswith("mindspore") and value.__name__ in _DRAWS:
            raise Unreadable(f"{value.__name__}, which draws a seed while it is compiled")
        self.token("function", module, value.__qualname__)
        self._add_code(value.__code__)
        self._add_all("defaults", (value.__defaults__, value.__kwdefaults__))
        closure = zip(value.__code__.co_freevars, value.__closure__ or ())
        for name, cell in closure:
            self.token(name)
            try:
                content = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
            self.add(content)
        if not _is_versioned(module):
            self._add_globals(value)

    def _add_globals(self, function):
        names = sorted(_names(function.__code__))
        for name in names:
            if name in function.__globals__:
                value = function.__globals__[name]
                self.token(name)
                self.add(value)
                if isinstance(value, types.ModuleType):
                    self._add_members(value, names)

    def _add_members(self, module, names):
        """What some code may take from a module by ``module.name``."""
        is_versioned = _is_versioned(module.__name__)
        for name in names:
            # Of MindSpore and the like, only what somebody else has put there.
            member = vars(module).get(name) if is_versioned else getattr(module, name, None)
            origin = getattr(member, "__module__", None) or module.__name__
            if member is not None and not (is_versioned and _is_versioned(origin)):
                self.token(name)
                self.add(member)

    def _add_code(self, code):
        constants = [c for c in code.co_consts if not isinstance(c, types.CodeType)]
        self.token(code.co_code, code.co_names, code.co_varnames, code.co_flags)
        self._add_all("constants", constants)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._add_code(constant)


def _is_volatile(name, value):
    # Without hooks or flags, MindSpore has an empty table of them, or none yet.
    is_table = name.startswith("_lazy_") or name == "_func_graph_flags"
    return name in _VOLATILE or (is_table and not value)


def vars_of(value) -> dict | None:
    """An object's attributes, those in slots too; None if it has neither."""
    names = [n for kind in type(value).__mro__ for n in getattr(kind, "__slots__", ())]
    state = getattr(value, "__dict__", None)
    if state is None and not names:
        return None
    return {**(state or {}), **{n: getattr(value, n) for n in names if hasattr(value, n)}}


def _names(code):
    """Every name that some code, or code inside it, may look up."""
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))
