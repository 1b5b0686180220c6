"""Build a stand-in for CUDA, so that MindSpore's GPU backend runs on a machine without a GPU.

MindSpore's wheel for Linux x86-64 holds its GPU plugin. The plugin hands each operator to a
function of another library: MindSpore's own CUDA kernels, or NVIDIA's cuBLAS, cuDNN and so on. The
stand-in has all functions that the plugin is linked against, read from its symbols; they compute
nothing and write down their names. tests/ascend/build.py does the same for an NPU.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.ascend import build as ascend

__all__ = ["backed_off", "build", "environment", "plain_name", "why_not"]

_HERE = Path(__file__).resolve().parent
_KERNELS = "gpu/libcuda_ops.so.11"
_BY_HAND = "CudaValidateInputAndInferShape"  # a kernel that cuda.cc defines
_NVIDIA = re.compile(r"(cu(da|blas|dnn|fft|rand|solver|sparse)?|nvrtc)[A-Z]\w+$")
_COMPUTES = re.compile(r"cu(blas|dnn|fft|rand|solver|sparse)")
_NO_KERNEL = re.compile(r"Create|Destroy|Set[A-Z]|Get[A-Z]|Size|Find")


def _plugins():
    return sorted(ascend.plugin_folder().glob("libmindspore_gpu.so.*"))


def why_not() -> str:
    """Why no stand-in can be built here; empty if it can."""
    if not _plugins() or not (ascend.plugin_folder() / _KERNELS).is_file():
        return "this MindSpore has no GPU plugin"
    return ascend.why_not()


def build(folder: str | Path) -> Path:
    """Build the stand-in into ``folder``/cuda, and return that.

    Raises:
        subprocess.CalledProcessError: what the compiler refuses.
    """
    home = Path(folder).resolve() / "cuda"
    home.mkdir(parents=True)
    wanted, libraries = set(), set()
    for plugin in _plugins():
        wanted |= {line.split()[-1].split("@")[0] for line in _lines("nm", "-Du", plugin)}
        dynamic = "\n".join(_lines("readelf", "-dW", plugin))
        libraries |= set(re.findall(r"NEEDED.*\[((?:libcu|libnvrtc)\S*)\]", dynamic))
    kernels = ascend.plugin_folder() / _KERNELS
    own = {line.split()[-1] for line in _lines("nm", "-D", "--defined-only", kernels)}
    (home / "generated.inc").write_text(_stand_ins(wanted, own), encoding="ascii")
    # The plugin looks for the kernels beside itself first, and finds a library that is there
    # already (LD_PRELOAD) by the name that it has inside.
    library = home / kernels.name
    subprocess.run(
        ["g++", "-shared", "-fPIC", "-O0", "-w", f"-I{home}", f"-Wl,-soname,{kernels.name}",
         str(_HERE / "cuda.cc"), "-o", str(library)],
        check=True,
    )  # fmt: skip
    for name in libraries - {library.name}:
        (home / name).symlink_to(library.name)
    # MindSpore takes the plugin for the version that the compiler tells; it looks at CUDA_HOME.
    version = _plugins()[-1].name.partition(".so.")[2]
    compiler = home / "bin" / "nvcc"
    compiler.parent.mkdir()
    told = f"Cuda compilation tools, release {version}, V{version}.0"
    compiler.write_text(f'#!/bin/sh\necho "{told}"\n', encoding="ascii")
    compiler.chmod(0o755)
    return home


def _lines(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def _stand_ins(wanted, own):
    kernels = sorted(
        name for name in wanted & own if name.startswith("_Z") and _BY_HAND not in name
    )
    lines = [f'KERNEL({number}, "{name}")' for number, name in enumerate(kernels)]
    written = set(re.findall(r"\b(\w+)\(", (_HERE / "cuda.cc").read_text(encoding="utf-8")))
    for name in sorted(wanted - written):
        if not _NVIDIA.match(name):
            continue
        kind = "AGREES"
        if "Create" in name or name in ("cuModuleLoadDataEx", "cuModuleGetFunction"):
            kind = "MAKES"  # its first argument is where the handle goes
        elif _COMPUTES.match(name) and not _NO_KERNEL.search(name):
            kind = "COMPUTES"
        lines.append(f"{kind}({name})")
    return "\n".join([*lines, ""])


def environment(home: Path, record: str | Path) -> dict[str, str]:
    """The variables under which a Python process finds the stand-in.

    Args:
        home: what ``build`` returned.
        record: the file to which each kernel that is asked for is added.
    """
    plugins = ascend.plugin_folder()
    return {
        "CUDA_HOME": str(home),
        "LD_PRELOAD": str(home / Path(_KERNELS).name),
        "LD_LIBRARY_PATH": f"{home}:{plugins}",
        "PYTHONPATH": str(_HERE.parents[1]),
        "CUDA_RECORD": str(record),
        # It may take a kernel of the CPU instead, and says so in a warning alone.
        "GLOG_v": "2",
    }


def backed_off(output: str) -> set[str]:
    """What MindSpore said where it took a kernel of the CPU, since the GPU has none.

    Args:
        output: what the process wrote.
    """
    return set(re.findall(r"[^\]\n]*to backoff on CPU[^\n]*", output))


def plain_name(symbols: list[str]) -> list[str]:
    """Mangled names as C++ writes them: with their types, without their arguments."""
    done = subprocess.run(
        ["c++filt"], input="\n".join(symbols), check=True, capture_output=True, text=True
    )
    names = [re.sub(r"^\w+ (?=\w)", "", line) for line in done.stdout.splitlines()]
    return [_without_arguments(name) for name in names]


def _without_arguments(name):
    """A template's own arguments stay: they tell the types."""
    depth = 0
    for place, character in enumerate(name):
        depth += (character == "<") - (character == ">")
        if character == "(" and depth == 0:
            return name[:place]
    return name
