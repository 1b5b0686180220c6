"""Build a stand-in for CANN, so that MindSpore's Ascend backend runs on a machine without an NPU.

MindSpore's wheel for Linux holds its whole Ascend plugin; CANN's libraries, to which the plugin
hands each kernel, come with the device's software. What the plugin asks of them is read from its
own files: the symbols that it is linked against, and the names that it looks up. So another
version of MindSpore gets the stand-in that it needs.

    python tests/ascend/build.py FOLDER    # and print the environment in which it is used
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["build", "environment", "on_host", "plugin_folder", "why_not"]

_HERE = Path(__file__).resolve().parent
_PLUGINS = (
    "libmindspore_ascend.so.2", "libmindspore_ops_ascend.so", "libmindspore_graph_ir.so",
    "libhccl_plugin.so",
)  # fmt: skip
# Libraries that the plugin opens by name while it runs, beside those that it is linked against.
_OPENED = (
    "libacl_op_compiler.so", "libacl_tdt_channel.so", "libascend_hal.so", "libascendcl.so",
    "libhccl.so", "libmsprofiler.so", "libnnopbase.so", "libopapi.so", "libprofapi.so",
    "libruntime.so",
)  # fmt: skip
_PYTHON = "opp/built-in/op_impl/ai_core/tbe"  # where CANN keeps its Python packages
_OURS = re.compile(r"^(acl|Hccl|Hcom|hal|rt|Msprof|ge)[A-Z]|^aclnn|^aclrt|^aclop|^aclmdl|^acltdt")
_LOOKED_UP = re.compile(
    rb"(?<=\0)(?:(?:acl(?:nn|rt|op|mdl|tdt|prof)?|Hccl|Hcom|rt)[A-Z]|\w*HugeMem|\w*PTA[A-Z])\w*(?=\0)"
)


def plugin_folder() -> Path:
    """Where the installed MindSpore keeps its plugins; it is not imported."""
    return Path(importlib.util.find_spec("mindspore").origin).parent / "lib/plugin"


def why_not() -> str:
    """Why no stand-in can be built here; empty if it can."""
    if sys.platform != "linux":
        return "the Ascend plugin is in MindSpore's wheels for Linux alone"
    if not (plugin_folder() / _PLUGINS[0]).is_file():
        return "this MindSpore has no Ascend plugin"
    missing = [tool for tool in ("g++", "nm", "readelf") if not shutil.which(tool)]
    return f"no C++ compiler ({', '.join(missing)} missing)" if missing else ""


def build(folder: str | Path) -> Path:
    """Build the stand-in into ``folder``/cann, and return that.

    Raises:
        subprocess.CalledProcessError: what the compiler refuses.
    """
    home = Path(folder).resolve() / "cann"  # MindSpore looks for "cann" in the path
    plugins = plugin_folder()
    libraries, python = home / "lib64", home / _PYTHON
    libraries.mkdir(parents=True)
    python.mkdir(parents=True)
    files, missing = _files(plugins)
    (home / "generated.inc").write_text(_stand_ins(files), encoding="ascii")
    library = libraries / "libcann.so"
    subprocess.run(
        ["g++", "-shared", "-fPIC", "-O1", "-w", "-D_GLIBCXX_USE_CXX11_ABI=0", f"-I{home}",
         str(_HERE / "cann.cc"), "-o", str(library)],
        check=True,
    )  # fmt: skip
    for name in missing | set(_OPENED):
        (libraries / name).symlink_to(library.name)
    version = _cann_version(plugins)
    (home / "compiler").mkdir()
    (home / "compiler/version.info").write_text(f"Version={version}\n", encoding="ascii")
    # Without CANN's package "te" MindSpore complains and goes on; with a part of it, it does not.
    (python / "hccl").mkdir()
    for name, text in (
        ("__init__.py", ""),
        ("version.py", f'version = "{version}"\n'),
        ("sys_version.py", f'__sys_version__ = "{version}"\n'),
    ):
        (python / "hccl" / name).write_text(text, encoding="ascii")
    return home


def environment(home: Path, soc: str, record: str | Path) -> dict[str, str]:
    """The variables under which a Python process finds the stand-in.

    Args:
        home: what ``build`` returned.
        soc: the NPU's name, such as "Ascend910B1" or "Ascend910A".
        record: the file to which each launch of a kernel is added.
    """
    plugins = plugin_folder()
    return {
        "ASCEND_HOME_PATH": str(home),
        "ASCEND_OPP_PATH": str(home / "opp"),
        "LD_LIBRARY_PATH": f"{home / 'lib64'}:{plugins / 'ascend'}:{plugins}",
        "PYTHONPATH": f"{home / _PYTHON}:{_HERE.parents[1]}",
        "CANN_SOC": soc,
        "CANN_RECORD": str(record),
        # What fails raises an exception. Of the device's part of MindSpore the notes are kept, for
        # an operator that Ascend lacks is computed by the host without an error (``on_host``).
        "GLOG_v": "4",
        "MS_SUBMODULE_LOG_v": "{DEVICE:1}",
    }


def on_host(output: str) -> set[str]:
    """The operators for which MindSpore took a kernel of the CPU, since Ascend has none.

    Args:
        output: what the process wrote.
    """
    return set(re.findall(r"Try to use backoff CPU kernel, node:\S*?(\w+)-op\d+", output))


def _files(plugins):
    """The plugin's shared libraries that a process with an Ascend device loads, and what libraries
    they are linked against that neither MindSpore's wheel nor the system holds."""
    present = {path.name: path for path in plugins.parent.rglob("*.so*")}
    system = re.compile(r"lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s|gomp|z|mpi)\.so|ld-linux")
    files, missing, left = [], set(), list(_PLUGINS)
    while left:
        name = left.pop()
        path = present.get(name)
        if path in files or system.match(name):
            continue
        if path is None:
            missing.add(name)
        elif plugins in path.parents:  # the rest of MindSpore knows nothing of CANN
            files.append(path)
            left += re.findall(r"NEEDED.*\[(.*)\]", "\n".join(_lines("readelf", "-dW", path)))
    return files, missing


def _lines(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def _stand_ins(files):
    """C++ of every function that the plugin wants and cann.cc does not define."""
    linked, looked_up = set(), set()
    for path in files:
        linked.update(line.split()[-1].split("@")[0] for line in _lines("nm", "-Du", path))
        looked_up.update(name.decode() for name in _LOOKED_UP.findall(path.read_bytes()))
    # A linker keeps a string that another one ends in only there.
    looked_up |= {name[2:] for name in looked_up if name.startswith("UnInit")}
    plain = {name for name in linked if _OURS.match(name)} | looked_up
    written = set(re.findall(r"\b(\w+)\(", (_HERE / "cann.cc").read_text(encoding="utf-8")))
    operators = {name for name in plain if name.startswith("aclnn")}
    operators = {name.replace("GetWorkspaceSize", "") for name in operators} - {
        "aclnnInit", "aclnnFinalize",
    }  # fmt: skip
    rest = plain - written - operators - {name + "GetWorkspaceSize" for name in operators}
    lines = ['extern "C" {', *(f"OPERATOR({name})" for name in sorted(operators))]
    lines += [_plain(name) for name in sorted(rest)]
    mangled = {name for name in linked if re.match(r"_Z(N|NK|TV|TI|TS|NSt)?K?N?2ge", name)}
    lines += [_mangled(place, name) for place, name in enumerate(sorted(mangled))]
    return "\n".join([*lines, "}", ""])


def _plain(name):
    """A function of CANN's C interface: it says that all went well, or makes a handle."""
    if re.match(r"aclrtCreate", name):  # its first argument is where the handle goes
        return f"int {name}(void **handle) {{ return *handle = cann_handle(), 0; }}"
    if "Create" in name:
        return f"void *{name}() {{ return cann_handle(); }}"
    return f"int {name}() {{ return 0; }}"


# Members of GraphEngine's classes that return an object, and the words it has. Its place is the
# first argument. A mangled name does not say what is returned.
_RETURNED = {
    "CreateOperator": 3, "GetDims": 3, "GetDirectNode": 3, "GetInControlNodes": 3,
    "GetInDataNodesAndPortIndexs": 2, "GetOriginShape": 2, "GetOutControlNodes": 3,
    "GetOutDataNodesAndPortIndexs": 3, "GetOutputDesc": 2, "GetShape": 2, "GetTensorDesc": 2,
}  # fmt: skip


def _mangled(place, name):
    """A member of GraphEngine's classes. None of them has a part in launching kernels one by one;
    objects that are made of them are zeros, which their destructors take."""
    if name.endswith("StatusFactory8InstanceEv"):
        return ""
    if re.match(r"_ZT[VIS]", name):
        return f'char ge_{place}[1024] __asm__("{name}");'
    *_, of_class, member = ["", "", *_parts(name)]
    words = _RETURNED.get(member, 0)
    if member in ("C1", "C2") and not of_class.endswith("Register"):
        words = 3 if of_class == "Operator" else 2
    result = "(long)self"
    if member == "IsExistOp":
        result = "1"
    elif not words and re.match("GE|Get", member):
        result = "0"  # a status, or nothing
    zeros = "".join(f"self[{word}] = 0; " for word in range(words))
    return (
        f'long ge_{place}(long *self) __asm__("{name}"); '
        f"long ge_{place}(long *self) {{ {zeros}return {result}; }}"
    )


def _parts(name):
    """The names in a mangled one: ["ge", "Shape", "SetDim"] of "_ZN2ge5Shape6SetDimEml"."""
    rest = re.sub("^_ZN?K?", "", name)
    parts = []
    while rest[:1].isdigit():
        length = re.match(r"\d+", rest).group()
        end = len(length) + int(length)
        parts.append(rest[len(length) : end])
        rest = rest[end:]
    return [*parts, rest[:2]] if re.match("[CD][12]", rest) else parts


def _cann_version(plugins):
    """The version of CANN that this MindSpore's own kernels were built with."""
    for path in plugins.glob("ascend/**/version.info"):
        found = re.search(r"=\s*([\d.]+)", path.read_text(encoding="utf-8"))
        if found:
            return found.group(1)
    return "8.2.0"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if why_not():
        sys.exit(why_not())
    for variable, value in environment(build(sys.argv[1]), "Ascend910B1", "launches.txt").items():
        print(f"export {variable}={value}")
