"""Compiled graphs kept on disk, so that a second run need not compile them again.

MindSpore can store what it has compiled (``enable_compile_cache``), but knows a stored graph by its
number alone: a script that compiles other functions, or the same ones in another order, is given
wrong graphs without a word. Here MindSpore only ever sees a folder of this process, which is empty
but for the one graph that is about to be compiled, and that graph is found by the fingerprint of
all that it depends on. So a wrong number means a graph compiled anew, never a wrong graph.

STEP_LLM_GRAPH_CACHE=0 switches it off, 1 on; any other text is the folder to use. Without a word
it is on under Linux, where it was tried. It is off outside graph mode and the CPU, in a job of
several processes, and where MindSpore's own variables ask for its own cache.
"""

from __future__ import annotations

import atexit
import functools
import gzip
import os
import platform
import shutil
import sys
import tempfile
import threading
import weakref
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path

import mindspore as ms
from mindspore import Parameter, Tensor, nn

from step_llm.runtime.device import current_device
from step_llm.runtime.files import replacing, user_cache
from step_llm.runtime.fingerprint import fingerprint

__all__ = ["GraphCache", "cached_graphs"]

_MOST_BYTES = 300_000_000  # of a folder; a graph of a training step takes some 100,000
_DEPENDENCIES = "_get_compile_cache_dep_files"
_CONTEXTS = ("mode", "jit_level", "deterministic", "max_call_depth")
_compile = nn.Cell.compile


def _default_folder() -> Path | None:
    """Where graphs are kept, by STEP_LLM_GRAPH_CACHE and the system's custom; None if nowhere."""
    usual = "1" if sys.platform.startswith("linux") else "0"
    wanted = os.environ.get("STEP_LLM_GRAPH_CACHE", usual)
    if wanted in ("0", ""):
        return None
    if wanted != "1":
        return Path(wanted)
    if sys.platform == "win32":
        local = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        return local / "step_llm" / "graphs"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "step_llm" / "graphs"
    return user_cache() / "graphs"


class GraphCache:
    """The graphs of one folder, for this process.

    Args:
        folder: where they are kept; several processes may share it. What is in it can be removed
            at any time.
        most_bytes: beyond these, the graphs that were used longest ago are removed.
    """

    def __init__(self, folder: Path, most_bytes: int = _MOST_BYTES):
        environment, _ = fingerprint(_environment())
        self.folder = Path(folder) / environment[:16]
        self.most_bytes = most_bytes
        self.hits = self.misses = self.refused = 0
        self._seen = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._own = None  # MindSpore's folder, from the first graph on
        self._process = os.getpid()
        self._number = 0  # that MindSpore gives the next graph

    def compile(self, cell, args) -> None:
        """``nn.Cell.compile``, with its graph from the folder if it is there; else it is kept.

        MindSpore calls it before every run of a Cell, and compiles only what is new to this
        process. So does this: once for each Cell, phase and shape of the arguments.
        """
        seen, call = self._seen.setdefault(cell, set()), (cell.phase, _signature(args))
        try:
            is_new = call not in seen
            seen.add(call)
        except TypeError:  # an argument that has no hash
            is_new = False
        is_forked = os.getpid() != self._process  # MindSpore's folder is the other process's
        if not is_new or is_forked or not self._lock.acquire(blocking=False):
            _compile(cell, *args)
            return
        try:
            key, weights = self._key(cell, call)
            stored = self.folder / f"{key}.gz"
            is_there = None
            if key is not None:
                with suppress(OSError):
                    self._begin()
                    is_there = self._lay_out(stored)
            if is_there is None:
                self.refused += 1
                _compile(cell, *args)
                return
            # MindSpore finds the weights of a stored graph by name, among those of the Cell; but a
            # Cell may use others.
            vars(cell)["parameters_dict"] = lambda recurse=True: weights
            ms.set_context(enable_compile_cache=True)
            try:
                _compile(cell, *args)
            finally:
                ms.set_context(enable_compile_cache=False)
                del vars(cell)["parameters_dict"]
            self._take(stored, is_there)
        finally:
            self._lock.release()

    def _key(self, cell, call):
        """The graph's name, and its weights by theirs; None where one of these cannot be told."""
        try:
            key, parameters = fingerprint(call, cell, current_device(), *map(_context, _CONTEXTS))
        except Exception:  # Unreadable, or whatever a value of others raises when it is read
            return None, {}
        weights = cell.parameters_dict()
        for parameter in parameters:
            if weights.setdefault(parameter.name, parameter) is not parameter:
                return None, {}  # two of one name
        return key, weights

    def _begin(self):
        """Give MindSpore its folder, once in a process: it keeps to the first that it is given."""
        if self._own is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._own = tempfile.mkdtemp(prefix="step_llm-graphs-")
            atexit.register(shutil.rmtree, self._own, ignore_errors=True)
            ms.set_context(compile_cache_path=self._own)
            # MindSpore would read the entry script and what it imports, to see whether they have
            # changed. Of that the fingerprint knows more; and a notebook has no such script.
            setattr(sys.modules[ms.jit.__module__], _DEPENDENCIES, lambda: [__file__])
            kept = self.folder / "compile_dependency.hash"
            if kept.is_file():
                self._graphs().mkdir(parents=True, exist_ok=True)
                shutil.copyfile(kept, self._graphs() / kept.name)

    def _graphs(self):
        return Path(self._own, "rank_0", "graph_cache")

    def _lay_out(self, stored):
        """Leave nothing in MindSpore's folder but the one graph, if it is stored and whole."""
        for path in self._graphs().glob("*.mindir"):
            path.chmod(0o600)  # MindSpore writes them read-only, and Windows keeps such
            path.unlink()
        try:
            graph = gzip.decompress(stored.read_bytes())
            (self._graphs() / f"compile_cache_{self._number}.mindir").write_bytes(graph)
            os.utime(stored)  # used now
            return True
        except FileNotFoundError:
            return False
        except (EOFError, ValueError, gzip.BadGzipFile, zlib.error):  # damaged
            stored.unlink(missing_ok=True)
            return False

    def _take(self, stored, is_there):
        """Keep what MindSpore has compiled just now, and see which number comes next."""
        number = self._number
        found = {
            int(path.stem.rpartition("_")[2]): path for path in self._graphs().glob("*.mindir")
        }
        new = {n: path for n, path in found.items() if not (is_there and n == number)}
        self._number = max(new, default=number) + 1
        if not new:
            self.hits += is_there
            return
        self.misses += 1
        if len(new) == 1:
            self._keep(stored, *new.values())

    def _keep(self, stored, graph):
        with suppress(OSError):  # a full disk, say: the graph is compiled again next time
            with replacing(stored) as partial:
                partial.write_bytes(gzip.compress(graph.read_bytes(), compresslevel=1))
            own = self._graphs() / "compile_dependency.hash"
            with replacing(self.folder / own.name) as partial:
                shutil.copyfile(own, partial)
            self._remove_oldest()

    def _remove_oldest(self):
        root = self.folder.parent
        files = [(p.stat().st_mtime, p.stat().st_size, p) for p in root.glob("*/*.gz")]
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.most_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size


@functools.cache
def _of_this_process():
    """The cache of the usual folder; None where there is to be none."""
    folder = _default_folder()
    others = {"MS_COMPILER_CACHE_ENABLE", "MS_COMPILER_CACHE_PATH", "RANK_ID", "MS_ROLE"}
    if folder is None or others & set(os.environ) or current_device() != "CPU":
        return None
    # A version that asks for the entry script in another way is left alone.
    return GraphCache(folder) if hasattr(sys.modules[ms.jit.__module__], _DEPENDENCIES) else None


@contextmanager
def cached_graphs():
    """Inside, Cells take their graphs from this process's cache. Only for graph mode."""
    cache, before = _of_this_process(), nn.Cell.compile
    if cache is None:
        yield
        return

    def compile(self, *args, **options):
        if options:
            _compile(self, *args, **options)
        else:
            cache.compile(self, args)

    nn.Cell.compile = compile
    try:
        yield
    finally:
        nn.Cell.compile = before


def _environment():
    """What every graph depends on beside its own function."""
    asked = {n: v for n, v in sorted(os.environ.items()) if n.startswith(("MS_", "MINDSPORE_"))}
    versions = ms.__version__, platform.python_version(), platform.machine(), platform.system()
    return (*versions, asked, Path(__file__).read_bytes())


def _context(name):
    try:
        return str(ms.get_context(name))
    except (ValueError, KeyError):  # not in this version
        return None


def _signature(value):
    """Of arguments, what a graph depends on: of tensors shape and type, other values themselves."""
    if isinstance(value, Tensor) and not isinstance(value, Parameter):
        return value.shape, value.dtype
    if isinstance(value, (tuple, list)):
        is_mutable = bool(getattr(value, "__ms_mutable__", False))
        return type(value).__name__, is_mutable, tuple(map(_signature, value))
    return value
