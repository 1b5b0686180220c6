"""Run one notebook of a student's and check its answers: tools/grade.py starts this, nobody else.

What the notebook prints, and what its own calls of ``exercises.check`` say, count for nothing. They
are cut out of its cells; after each cell this program hands the answers to checks that it loaded
before any of the notebook's code ran, and that the notebook cannot import. Results go to the grader
through a socket, each with a token that came through it at the start. Before and after each check,
NumPy, MindSpore, the library and the checks have to be what they were. What code does that could be
meant for the grader (look into frames, send signals, delete files elsewhere) is reported by an
audit hook, which Python cannot take away again.

    run_submission.py DESCRIPTOR       of the socket
"""

from __future__ import annotations

import ast
import gc
import json
import os
import re
import socket
import sys
import tempfile
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [str(ROOT), str(ROOT / "tools"), *(p for p in sys.path if p and Path(p) != ROOT)]
sys.dont_write_bytecode = True
import isolation  # noqa: E402

CHECKS = "step_llm.course.checks"
_TIMED = re.compile(r"\s*%%(time|timeit|capture)\b.*\n")
_LONGEST = 600  # characters of a hint


# ---------------------------------------------------------------------------------- the channel


def channel(descriptor: int, token: str):
    """A function that tells the grader something: what kind of thing it is, then words.

    Built of nothing that Python code can replace: the descriptor is written by a built-in function,
    the line is made by methods of ``str`` alone.
    """
    write, text, longest = os.write, str, _LONGEST

    def tell(*words):
        line = "\t".join(
            [
                token,
                *(
                    text(word)[:longest].replace("\t", " ").replace("\n", " ").replace("\r", " ")
                    for word in words
                ),
            ]
        )
        write(descriptor, (line + "\n").encode("utf-8", "replace"))

    return tell


# ------------------------------------------------------------------------------------- the cells


def split(source: str):
    """A cell without its calls of ``exercises.check``, and the calls: (source, {number: answer}).

    The answer is compiled code that gives a tuple. Only calls at the top level of the cell count.

    Raises:
        SyntaxError: it is no Python.
    """
    calls, lines = {}, [line.encode() for line in source.split("\n")]
    for statement in ast.parse(source).body:
        call = statement.value if isinstance(statement, ast.Expr) else None
        if not _is_check(call):
            continue
        number = call.args[0].value
        answer = ast.Expression(ast.copy_location(ast.Tuple(call.args[1:], ast.Load()), call))
        calls[number] = compile(answer, f"<answer {number}>", "eval")
        first, last = statement.lineno - 1, statement.end_lineno - 1
        rest = lines[last][statement.end_col_offset :]
        for place in range(first + 1, last + 1):
            lines[place] = b""
        lines[first] = lines[first][: statement.col_offset] + b"pass" + rest
    return b"\n".join(lines).decode(), calls


def _is_check(call):
    if not (isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Constant)):
        return False
    name = ast.unparse(call.func).split(".")[-1]
    return name == "check" and isinstance(call.args[0].value, str)


def cut(transform, source: str, numbers):
    """The exercises that a cell mentions, its source and its calls; None for these, and the error
    for the source, where it is no Python."""
    here = mentioned(source, numbers)
    try:
        return here, *split(transform(_TIMED.sub("", source, count=1)))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return here, described(error), None


def mentioned(source: str, numbers) -> list[str]:
    """The exercises whose check a cell calls, in one way or another."""
    return [number for number in numbers if f'check("{number}"' in source.replace("'", '"')]


# ------------------------------------------------------------------------- the checks, kept apart


def take_checks(numbers):
    """The checks of these exercises, out of reach of ``import``: number to a function.

    The function takes the answers and returns status and hint. Notebooks that import
    ``step_llm.course.checks`` get another copy.
    """
    checks = import_module(CHECKS)
    lessons = {number: checks._exercises(number.partition(".")[0]) for number in numbers}
    judge = sys.modules[f"{CHECKS}.judge"]
    modules = [module for name, module in sys.modules.items() if name.startswith(CHECKS)]
    for name in [name for name in sys.modules if name.startswith(CHECKS)]:
        del sys.modules[name]
    del sys.modules["step_llm.course"].checks
    not_yet, wrong, given, told = judge.NotYet, judge.Wrong, judge.given, checks.told

    def check_of(number, exercise):
        def check(answers):
            try:
                return "passed", exercise(*[given(answer) for answer in answers])
            except not_yet:
                return "not yet", ""
            except wrong as error:
                return "wrong", told(number, error.args[0])

        return check

    found = {n: check_of(n, lessons[n][n.partition(".")[2]]) for n in numbers}
    return found, modules


def guard(modules):
    """A function that names what has been replaced since now, or returns "".

    Args:
        modules: modules beside those of NumPy, MindSpore and the library that are loaded.
    """
    named = [
        module for name, module in sys.modules.items()
        if name.split(".")[0] in ("numpy", "mindspore", "step_llm", "builtins")
        and isinstance(module, type(sys))
    ]  # fmt: skip
    kept, seen = [], set()

    def keep(owner, name, value):
        code = getattr(value, "__code__", None)
        kept.append((owner.__dict__, f"{owner.__name__}.{name}", name, value, code))

    for module in [*named, *modules]:
        for name, value in list(vars(module).items()):
            if not callable(value) and not isinstance(value, type(sys)):
                continue
            keep(module, name, value)
            is_own = getattr(value, "__module__", None) == module.__name__
            if isinstance(value, type) and is_own and id(value) not in seen:
                seen.add(id(value))
                for key, part in list(vars(value).items()):
                    if callable(part) or isinstance(part, (property, staticmethod, classmethod)):
                        keep(value, key, part)

    def changed():
        # No built-in function is called here: the notebook may have replaced it.
        for names, place, name, value, code in kept:
            if names.get(name) is not value:
                return place
            if code is not None and value.__code__ is not code:
                return place
        return ""

    return changed


# --------------------------------------------------------------------------------- the audit hook

_FRAMES = ("tb_frame", "gi_frame", "cr_frame", "ag_frame")
_FILES = {
    "os.remove": 1, "os.rmdir": 1, "os.rename": 2, "os.truncate": 1, "os.link": 2, "os.symlink": 2,
    "os.chmod": 1, "os.chown": 1, "os.mkdir": 1, "shutil.rmtree": 1,
}  # fmt: skip  # how many of an event's arguments are paths
_INSIDE = {  # events of code that looks into the interpreter, where a cell causes them
    "gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys._getframe",
    "sys._current_frames", "sys._current_exceptions", "sys.settrace", "sys.setprofile",
    "sys.addaudithook", "code.__new__", "object.__getattr__", "object.__setattr__",
    "ctypes.dlopen", "ctypes.dlsym", "ctypes.string_at", "ctypes.addressof", "ctypes.call_function",
    "ctypes.cdata", "cpython.PyInterpreterState_New",
}  # fmt: skip
_STARTS = {"subprocess.Popen", "os.system", "os.fork", "os.exec", "os.posix_spawn", "os.spawn"}


def watch(tell, folder: Path, cells: str, parents) -> None:
    """Report what code does that could be meant for the grader, and refuse it.

    Args:
        tell: the channel. "violation" is an attack, "note" a thing to know.
        folder: where files may be written.
        cells: how the names of the cells' files begin.
        parents: numbers of processes that must be let live.
    """
    allowed = tuple(os.path.realpath(place) + os.sep for place in (folder, "/dev"))
    answers = tuple(str(ROOT / name) for name in ("notebooks/solutions", "notebooks/zh/solutions"))
    answers += (str(ROOT / "tests" / "exercises_"),)
    realpath, frame_of, fsdecode = os.path.realpath, sys._getframe, os.fsdecode
    between = ("inspect.py", "traceback.py", "ctypes" + os.sep + "__init__.py")
    state = {"busy": False, "told": set()}

    def is_cell(depth):
        frame = frame_of(depth)
        near = 0
        # The cell itself, or one function between (inspect.currentframe). traceback.print_exc is
        # further away, and harmless.
        while frame is not None and near < 2:
            if frame.f_code.co_filename.startswith(cells):
                return True
            if not frame.f_code.co_filename.endswith(between):
                return False
            frame, near = frame.f_back, near + 1
        return False

    def report(kind, words):
        if (kind, words) not in state["told"] and len(state["told"]) < 100:
            state["told"].add((kind, words))
            tell(kind, words)

    def refuse(words):
        report("violation", words)
        raise PermissionError(f"the grader does not allow this: {words}")

    def path_of(value):
        return realpath(fsdecode(value)) if isinstance(value, (str, bytes, os.PathLike)) else None

    def look(event, arguments):
        if event in ("os.kill", "os.killpg", "signal.pthread_kill"):
            if event == "os.kill" and arguments[0] not in parents and not is_cell(3):
                return
            refuse(f"sends a signal ({event})")
        elif event == "open":
            path, mode, flags = (*arguments, None, None)[:3]
            path = path_of(path)
            if path is None:
                return
            if path.startswith(answers):
                refuse("opens the solutions")
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            writes = writes or (isinstance(mode, str) and set(mode) & set("wax+"))
            if writes and not (path + os.sep).startswith(allowed):
                refuse(f"writes a file elsewhere ({path})")
        elif event in _FILES:
            for value in arguments[: _FILES[event]]:
                path = path_of(value)
                if path is not None and not (path + os.sep).startswith(allowed):
                    refuse(f"deletes or changes files elsewhere ({event} {path})")
        elif event in _STARTS:
            if is_cell(3) or event == "subprocess.Popen":
                report("note", f"starts another program ({event})")
        elif event == "socket.connect":
            if arguments[0].family in (socket.AF_INET, socket.AF_INET6) and is_cell(3):
                report("note", "asks for the network")
        elif is_cell(3):
            if event == "object.__getattr__" and arguments[1] not in _FRAMES:
                return
            what = f"{event} {arguments[1]}" if event.startswith("object.") else event
            refuse(f"looks into the interpreter ({what})")

    watched = {"os.kill", "os.killpg", "signal.pthread_kill", "open", "socket.connect"}
    watched |= {*_FILES, *_STARTS, *_INSIDE}

    def hook(event, arguments):
        if event not in watched or state["busy"]:
            return
        state["busy"] = True
        try:
            look(event, arguments)
        finally:
            state["busy"] = False

    sys.addaudithook(hook)


# -------------------------------------------------------------------------------------- the run


def make_shell():
    """IPython as a kernel has it, without the kernel: no ports, which the network's end takes."""
    from ipykernel.compiler import XCachingCompiler, get_tmp_directory
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "NoColor" if sys.version_info < (3, 11) else "nocolor"

    class Shell(InteractiveShell):
        compiler_class = XCachingCompiler  # each cell has a file's name, as in a kernel

    shell = Shell.instance(config=config)
    shell.showtraceback = lambda *arguments, **options: None  # the error is in the result
    shell.showsyntaxerror = lambda *arguments, **options: None
    return shell, get_tmp_directory()


def described(error) -> str:
    words = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def run(cells, numbers, tell, folder: Path, parents) -> None:
    """Run the cells one after another, and check each answer after its cell."""
    os.environ["MPLBACKEND"] = "Agg"
    os.environ["IPYTHONDIR"] = str(folder / "home")
    import matplotlib.pyplot  # noqa: F401  # it looks for fonts when first imported

    import step_llm.course  # noqa: F401

    checks, modules = take_checks(numbers)
    own = import_module(CHECKS)  # the copy that the notebook may import
    for number in numbers:
        own._exercises(number.partition(".")[0])
    shell, place = make_shell()
    parts = [cut(shell.transform_cell, source, numbers) for source in cells]  # before any runs
    changed = guard(modules)
    watch(tell, folder, place, parents)
    names = shell.user_ns

    for place, (here, python, calls) in enumerate(parts, 1):
        tell("cell", place, " ".join(here))
        if calls is None:
            for number in here:
                tell("result", number, "error", f"its cell is no Python: {python}")
            continue
        outcome = shell.run_cell(python, store_history=False)
        error = outcome.error_before_exec or outcome.error_in_exec
        if error is not None:
            tell("note", f"cell {place} raised {described(error)}")
        if names.get("exercises", own) is not own:
            tell("violation", "puts something else in the place of exercises")
        for number, answer in calls.items():
            if number not in checks:
                continue
            if error is not None:
                tell("result", number, "error", f"its cell raised {described(error)}")
                continue
            tell("check", number)
            replaced = changed()
            if replaced:
                tell("violation", "replaces " + replaced)
            try:
                status, hint = checks[number](eval(answer, names))
            except BaseException as failure:
                status, hint = "error", f"the check ended with {described(failure)}"
            replaced = changed()
            if replaced:
                tell("violation", "replaces " + replaced)
            tell("result", number, status, hint)
    replaced = changed()
    if replaced:
        tell("violation", "replaces " + replaced)
    tell("end")


def main() -> int:
    """Read the order from the socket, isolate, and run the notebook in a process below this one.

    A notebook that kills its parent kills this process, and the grader sees that.
    """
    descriptor = int(sys.argv[1])
    with socket.socket(fileno=os.dup(descriptor)) as line, line.makefile("rb") as file:
        order = json.loads(file.readline())
    folder = Path(order["folder"])
    tell = channel(descriptor, order["token"])
    gone = isolation.isolate(folder) if order["isolates"] else []
    tell("isolation", " ".join(gone))
    os.chdir(os.getcwd())  # into the writable mount, which has come to lie over the old one
    watcher = os.getpid()
    child = os.fork()
    if child:
        del order, tell
        status = os.waitpid(child, 0)[1]
        return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    isolation.end_with_parent()
    isolation.renounce()
    isolation.limit(order["seconds"], order["memory"], order["file_size"])
    tempfile.tempdir = None
    cells, numbers = order["cells"], order["numbers"]
    del order
    gc.collect()
    sys.argv = ["notebook"]
    run(cells, numbers, tell, folder, {-1, 0, 1, os.getppid(), watcher})
    sys.stdout.flush()
    os._exit(0)  # nothing that the notebook left behind (threads, handlers) runs after the end


if __name__ == "__main__":
    sys.exit(main())
