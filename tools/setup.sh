#!/usr/bin/env bash
# Builds the environments of the course. The Makefile calls it; it takes no input and may be run again
# at any time: an environment that is up to date costs a few milliseconds.
#
#   tools/setup.sh [main|oldest|golden] [--dry-run]
#
#   main     .venv         what the course and its checks need (the default)
#   oldest   .venv-oldest  Python 3.9 and the lower bound of every range in requirements*.txt
#   golden   .venv-golden  PyTorch and transformers for the CPU: to compute the golden values of the
#                          tests again, and as the peers of the benchmarks
#
# Environment variables:
#   PYTHON       an interpreter (path or command) or a version such as 3.11; default: see find_python
#   MINDSPORE    `install`: install a MindSpore of our own even where the interpreter brings one
#   TORCH_PIP_FLAGS   flags for `pip install torch`, golden only
#
# Written for the Bash 3.2 that macOS ships as well as for current ones.

set -eu -o pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$ROOT"

PROFILE=main
DRY_RUN=no
for argument in "$@"; do
    case $argument in
        main | oldest | golden) PROFILE=$argument ;;
        --dry-run) DRY_RUN=yes ;;
        *)
            echo "setup: unknown argument '$argument'; known: main, oldest, golden, --dry-run" >&2
            exit 2
            ;;
    esac
done

PYTHON=${PYTHON:-}
MINDSPORE=${MINDSPORE:-}
TORCH_PIP_FLAGS=${TORCH_PIP_FLAGS:-}
TORCH="torch==2.13.0"
TORCH_CPU_INDEX="https://download.pytorch.org/whl/cpu"

# The versions a profile supports, the preferred one first.
case $PROFILE in
    main)
        VENV=$ROOT/.venv
        VERSIONS="3.12 3.11 3.10 3.9"
        RANGE="3.9 to 3.12"
        ;;
    oldest)
        VENV=$ROOT/.venv-oldest
        VERSIONS="3.9"
        RANGE="3.9"
        ;;
    golden)
        VENV=$ROOT/.venv-golden
        VERSIONS="3.11 3.12 3.10"
        RANGE="3.10 to 3.12"
        ;;
esac
NAME=${VENV##*/}
STAMP=$VENV/.step_llm-setup

say() { printf '%s\n' "$*"; }
warn() { printf 'setup: %s\n' "$*" >&2; }
die() {
    warn "$@"
    exit 1
}

is_supported() { case " $VERSIONS " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

# golden holds PyTorch, and neither MindSpore nor the course.
holds_torch() { [ "$PROFILE" = golden ]; }

# ---------------------------------------------------------------- finding an interpreter

# Run inside a candidate: prints version, path, and where a MindSpore would be imported from. A virtual
# environment of this project stands for the interpreter it was made from.
PROBE='
import importlib.util, os, sys
root = os.path.realpath(sys.argv[1])
prefix = os.path.realpath(sys.prefix)
path = sys.executable if sys.prefix != sys.base_prefix else os.path.realpath(sys.executable)
if os.path.dirname(prefix) == root and os.path.basename(prefix).startswith(".venv"):
    path, origin = os.path.realpath(sys._base_executable), "own"
else:
    try:
        spec = importlib.util.find_spec("mindspore")
        origin = spec.origin or "" if spec else ""
    except Exception:
        origin = ""
print("probe", "%d.%d" % sys.version_info[:2], path, origin, sep="|")
'

# probe CANDIDATE: sets P_VERSION, P_PATH and P_ORIGIN; fails for what does not run. It has to answer: the
# shims of version managers exist for interpreters that are not installed.
probe() {
    local answer
    answer=$("$1" -c "$PROBE" "$ROOT" 2>/dev/null </dev/null | grep '^probe|' | tail -n 1) || return 1
    [ -n "$answer" ] || return 1
    IFS='|' read -r _ P_VERSION P_PATH P_ORIGIN <<<"$answer"
    if [ "$P_ORIGIN" = own ]; then
        [ "$P_PATH" != "$1" ] || return 1
        probe "$P_PATH"
    fi
}

# Every interpreter that may be there, one a line, the preferred version first.
candidates() {
    local version name folder
    for version in $VERSIONS; do
        type -p "python$version" || true
        for name in python3 python; do
            folder=$(type -p "$name") && printf '%s\n' "$folder"
        done
        for folder in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version" \
            "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*; do
            [ ! -x "$folder/bin/python" ] || printf '%s\n' "$folder/bin/python"
        done
    done
}

# import_mindspore INTERPRETER: sets M_VERSION and M_NUMPY by really importing it, once.
import_mindspore() {
    local answer
    answer=$("$1" -c '
import mindspore, numpy
print("\nmindspore|%s|%s" % (mindspore.__version__, numpy.__version__))' 2>&1 </dev/null) || {
        M_ERROR=$(printf '%s\n' "$answer" | tail -n 5)
        return 1
    }
    IFS='|' read -r _ M_VERSION M_NUMPY <<<"$(printf '%s\n' "$answer" | grep '^mindspore|' | tail -n 1)"
}

# take_own_mindspore INTERPRETER: sets KEEP=yes when the interpreter brings a MindSpore that works. One that
# is there and does not work stops the set-up: on an Ascend image, another one in its place would not fit
# the CANN beside it.
take_own_mindspore() {
    if [ -z "$P_ORIGIN" ] || [ "$PROFILE" != main ] || [ "$MINDSPORE" = install ]; then
        return 1
    fi
    if ! import_mindspore "$P_PATH"; then
        warn "$P_PATH brings MindSpore ($P_ORIGIN), but it cannot be imported:"
        printf '%s\n' "$M_ERROR" | sed 's/^/    /' >&2
        warn "On an Ascend machine, load CANN first (source …/ascend-toolkit/set_env.sh) and run this again."
        die "To leave that MindSpore aside and install another: make setup MINDSPORE=install"
    fi
    KEEP=yes
    KEEP_ORIGIN=$P_ORIGIN
    KEEP_VERSION=$M_VERSION
    KEEP_NUMPY=$M_NUMPY
}

# Chooses the interpreter: PYTHON if given; else the machine's own python3 or python if it brings MindSpore
# (an Ascend image, whose MindSpore belongs to its CANN); else the newest supported version.
find_python() {
    local candidate version seen=""
    KEEP=no
    case $PYTHON in
        "") ;;
        3.[0-9] | 3.[0-9][0-9])
            is_supported "$PYTHON" || die "Python $PYTHON is not supported here. Supported: Python $RANGE."
            VERSIONS=$PYTHON
            RANGE=$PYTHON
            ;;
        *)
            candidate=$(type -p "$PYTHON") || candidate=$PYTHON
            probe "$candidate" || die "PYTHON=$PYTHON does not run. Supported: Python $RANGE."
            is_supported "$P_VERSION" ||
                die "PYTHON=$PYTHON is Python $P_VERSION. Supported: Python $RANGE."
            take_own_mindspore || true
            return 0
            ;;
    esac

    for candidate in python3 python; do
        candidate=$(type -p "$candidate") || continue
        probe "$candidate" || continue
        if is_supported "$P_VERSION"; then
            if take_own_mindspore; then return 0; fi
        elif [ -n "$P_ORIGIN" ] && [ "$PROFILE" = main ]; then
            warn "$P_PATH brings MindSpore, but it is Python $P_VERSION; the course needs Python $RANGE."
        fi
    done

    # A name such as python3 may turn out to be any version, so each is asked once per wanted version.
    for version in $VERSIONS; do
        while IFS= read -r candidate; do
            case "$seen" in *"<$candidate>"*) continue ;; esac
            if ! probe "$candidate"; then
                seen="$seen<$candidate>"
            elif [ "$P_VERSION" = "$version" ]; then
                return 0
            fi
        done <<<"$(VERSIONS=$version candidates)"
    done
    warn "no suitable Python found. Supported: Python $RANGE."
    warn "Install one (python.org, your system's packages, conda, pyenv), or name it: make setup PYTHON=/path/to/python"
    exit 1
}

# ---------------------------------------------------------------- what to install

# requirement NAME: its line in requirements.txt.
requirement() { grep -iE "^$1 *[<>=!~]" requirements.txt || true; }

# within_range NAME VERSION: does the version lie in the range of requirements.txt? Compared two places deep.
within_range() {
    local lowest below
    read -r lowest below <<<"$(requirement "$1" | sed -nE 's/^[^>]*>=([^,]+),<(.+)$/\1 \2/p')"
    [ -n "$below" ] && awk -v version="$2" -v lowest="$lowest" -v below="$below" '
        function key(text,  part) { split(text, part, "."); return part[1] * 1000 + part[2] }
        BEGIN { exit !(key(version) >= key(lowest) && key(version) < key(below)) }'
}

requirement_lines() {
    grep -hvE '^[[:space:]]*(#|$)' requirements.txt requirements-dev.txt | case $KEEP in
        yes) grep -viE '^mindspore([^a-z0-9_.-]|$)' || true ;;
        no) cat ;;
    esac
}

# The lower bound of every range, as pins: name>=1.2,<2 becomes name==1.2.
lower_bounds() { requirement_lines | sed -nE 's/^([A-Za-z0-9_.-]+)>=([^,<]+).*/\1==\2/p'; }

constraints() {
    if [ "$PROFILE" = oldest ]; then
        lower_bounds
    elif [ "$KEEP" = yes ]; then
        say "mindspore==$KEEP_VERSION"
        if keeps_numpy; then say "numpy==$KEEP_NUMPY"; fi
    fi
}

# The image's NumPy stays when it lies in our range; outside it, pip puts one into the environment.
keeps_numpy() { within_range numpy "$KEEP_NUMPY"; }

# ---------------------------------------------------------------- the state of an environment

# First line of the stamp: changes whenever set-up would do something else. The second line names the
# interpreter, the third tells whether MindSpore is the machine's own.
fingerprint() {
    if holds_torch; then
        say "done $TORCH $(cksum <requirements-golden.txt | tr ' ' -) $ROOT"
    else
        say "done $(cat requirements.txt requirements-dev.txt tools/setup.sh | cksum | tr ' ' -) $ROOT"
    fi
}

stamp_line() { if [ -f "$STAMP" ]; then sed -n "$1p" "$STAMP"; fi; }

# Decides between new, keep and rebuild for an environment that may be there; sets ACTION and REASON.
examine() {
    local version
    ACTION=keep
    REASON=""
    if [ ! -e "$VENV" ]; then
        ACTION=new
    elif [ ! -e "$VENV/pyvenv.cfg" ] && [ ! -e "$STAMP" ] && [ -n "$(ls -A "$VENV")" ]; then
        die "$NAME is there but is not a virtual environment. Move it away and run this again."
    elif case "$(stamp_line 1)" in installing*) true ;; *) false ;; esac then
        ACTION=rebuild
        REASON="its set-up was interrupted"
    elif ! version=$("$VENV/bin/python" -c \
        'import pip, sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null </dev/null); then
        ACTION=rebuild
        REASON="its Python no longer runs"
    elif ! is_supported "$version"; then
        ACTION=rebuild
        REASON="it holds Python $version"
    elif [ -f "$STAMP" ] && [ "$(stamp_line 1 | cut -d ' ' -f 3-)" != "$ROOT" ]; then
        ACTION=rebuild
        REASON="it was made for another folder"
    elif [ -n "$PYTHON" ] && ! was_made_from_python "$version"; then
        ACTION=rebuild
        REASON="PYTHON=$PYTHON asks for another Python"
    elif [ "$MINDSPORE" = install ] && [ "$(stamp_line 3)" = keep=yes ]; then
        ACTION=rebuild
        REASON="MINDSPORE=install asks for a MindSpore of its own"
    fi
}

# The interpreter an environment was made from; one made by hand has no stamp and is asked.
made_from() {
    if [ -s "$STAMP" ]; then
        stamp_line 2
    else
        "$VENV/bin/python" -c 'import os, sys; print(os.path.realpath(sys._base_executable))' </dev/null
    fi
}

# was_made_from_python VERSION: is the environment, of this version, the one PYTHON asks for?
was_made_from_python() {
    local candidate
    case $PYTHON in 3.[0-9] | 3.[0-9][0-9]) [ "$PYTHON" = "$1" ] && return 0 || return 1 ;; esac
    candidate=$(type -p "$PYTHON") || candidate=$PYTHON
    probe "$candidate" || die "PYTHON=$PYTHON does not run. Supported: Python $RANGE."
    [ "$P_PATH" = "$(made_from)" ]
}

# An environment that is kept decides by what it sees: a MindSpore outside it is the image's.
examine_mindspore() {
    KEEP=no
    if [ "$PROFILE" != main ]; then return 0; fi
    P_PATH=$VENV/bin/python
    P_ORIGIN=$("$P_PATH" -c '
import importlib.util, os, sys
spec = importlib.util.find_spec("mindspore")
origin = os.path.realpath(spec.origin) if spec and spec.origin else ""
print("" if origin.startswith(os.path.realpath(sys.prefix) + os.sep) else origin)' </dev/null)
    take_own_mindspore || true
}

print_plan() {
    say "python:       $P_PATH ($P_VERSION)"
    say "environment:  $NAME ($ACTION${REASON:+: $REASON})"
    if holds_torch; then
        say "requirements: $TORCH, requirements-golden.txt"
        return 0
    fi
    case $KEEP in
        yes)
            say "mindspore:    keep $KEEP_VERSION of the image ($KEEP_ORIGIN)"
            if keeps_numpy; then say "numpy:        keep $KEEP_NUMPY of the image"; fi
            ;;
        no) say "mindspore:    install $(requirement mindspore)" ;;
    esac
    requirement_lines | sed 's/^/requirement:  /'
    constraints | sed 's/^/constraint:   /'
}

# ---------------------------------------------------------------- building

make_venv() {
    local flags="" log
    if [ "$KEEP" = yes ]; then flags=--system-site-packages; fi
    rm -rf "$VENV"
    mkdir "$VENV"
    # Before anything else: whatever is interrupted from here on is built again.
    write_stamp installing
    log=$VENV/step_llm-venv.log
    # shellcheck disable=SC2086  # flags is empty or one word
    if "$P_PATH" -m venv $flags "$VENV" >"$log" 2>&1 </dev/null; then
        :
    elif "$P_PATH" -m virtualenv --version >/dev/null 2>&1 </dev/null; then
        "$P_PATH" -m virtualenv --quiet $flags "$VENV"
    elif type -p virtualenv >/dev/null; then
        virtualenv --quiet --python "$P_PATH" $flags "$VENV"
    else
        sed 's/^/    /' "$log" >&2
        rm -rf "$VENV"
        warn "$P_PATH cannot make a virtual environment (it lacks venv or ensurepip)."
        warn "On Debian or Ubuntu: apt-get install python$P_VERSION-venv (older systems: python3-venv)."
        die "Anywhere: $P_PATH -m pip install --user virtualenv; then run this again."
    fi
}

write_stamp() { printf '%s\n' "$1" "$MADE_FROM" "keep=$KEEP" >"$STAMP"; }

pip() {
    "$VENV/bin/python" -m pip --disable-pip-version-check --no-input "$@" </dev/null
}

# One line that changes on a terminal, none elsewhere; errors always pass.
quiet_pip_install() {
    if [ -t 1 ]; then
        pip install --progress-bar off "$@" | awk '
            /^(Collecting|Downloading|Installing|  Downloading)/ {
                sub(/^ */, ""); printf "\r%-78.78s", $0; fflush() }
            END { printf "\r%-78s\r", "" }'
    else
        pip install --quiet "$@"
    fi
}

# pip's own settings (mirrors, time limits) stand; the time limit is raised only where none is set,
# because the largest wheel may take long over a slow line.
configure_pip() {
    export PIP_RETRIES=${PIP_RETRIES:-10}
    if [ -z "${PIP_DEFAULT_TIMEOUT:-}" ] && ! pip config list 2>/dev/null | grep -q timeout; then
        export PIP_DEFAULT_TIMEOUT=120
    fi
    # Older resolvers search for many minutes where a current one needs seconds.
    if [ "$(pip --version | sed -nE 's/^pip ([0-9]+).*/\1/p')" -lt 24 ]; then
        pip install --quiet --upgrade 'pip>=24' ||
            warn "pip could not be brought up to date; going on with the one that is there."
    fi
}

install_course() {
    local requirements=$VENV/step_llm-requirements.txt limits=$VENV/step_llm-constraints.txt purelib
    purelib=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    requirement_lines >"$requirements"
    constraints >"$limits"
    # A path file makes step_llm importable without fetching a build backend.
    printf '%s\n' "$ROOT" >"$purelib/step_llm-source.pth"
    if [ "$KEEP" = yes ]; then
        share_image_packages "$purelib"
        say "MindSpore $KEEP_VERSION of this machine is kept; installing the other packages …"
    elif ! has_mindspore; then
        say "Installing MindSpore (about 800 MB to download the first time, 3 GB on disk) …"
        # Together with NumPy and with pip's progress bar; the complete set follows.
        pip install --constraint "$limits" "$(requirement mindspore)" "$(requirement numpy)"
        say "Installing JupyterLab and the other packages (about 200 MB the first time) …"
    fi
    quiet_pip_install --constraint "$limits" --requirement "$requirements"
}

# Does the environment hold a MindSpore that lies in the range?
has_mindspore() {
    local version
    version=$("$VENV/bin/python" -c \
        'from importlib.metadata import version; print(version("mindspore"))' 2>/dev/null) &&
        within_range mindspore "$version"
}

# share_image_packages FOLDER: --system-site-packages reaches the packages of a real interpreter. When the
# MindSpore to keep lives elsewhere (in a virtual environment, say), a path file in FOLDER leads to it.
share_image_packages() {
    "$VENV/bin/python" -c '
import importlib.util, os, sys
spec = importlib.util.find_spec("mindspore")
sys.exit(not spec or os.path.realpath(spec.origin or "") != os.path.realpath(sys.argv[1]))' "$KEEP_ORIGIN" ||
        dirname "$(dirname "$KEEP_ORIGIN")" >"$1/step_llm-image.pth"
}

check_course() {
    import_mindspore "$VENV/bin/python" || {
        warn "MindSpore was installed but cannot be imported:"
        printf '%s\n' "$M_ERROR" | sed 's/^/    /' >&2
        return 1
    }
    if [ "$KEEP" = yes ] && [ "$M_VERSION" != "$KEEP_VERSION" ]; then
        warn "MindSpore $KEEP_VERSION of this machine was to be kept, but $NAME imports $M_VERSION."
        return 1
    fi
    # The notebooks' kernel is this environment, whatever kernels the image registers under the same name.
    if "$VENV/bin/python" -c 'import ipykernel' 2>/dev/null; then
        "$VENV/bin/python" -m ipykernel install --sys-prefix --name python3 \
            --display-name "Python 3 (step_llm)" >/dev/null
    fi
    say "$NAME is ready: $("$VENV/bin/python" -V), MindSpore $M_VERSION, NumPy $M_NUMPY."
}

# torch_is_for_cpu FLAGS…: would pip take a build without CUDA? It resolves and installs nothing.
torch_is_for_cpu() {
    local report=$VENV/step_llm-torch.json
    pip install --quiet --dry-run --ignore-installed --report "$report" "$@" "$TORCH" 'numpy<2' || return 2
    "$VENV/bin/python" -c '
import json, sys
names = [item["metadata"]["name"].lower() for item in json.load(open(sys.argv[1]))["install"]]
sys.exit(any(name.startswith(("nvidia", "cuda", "triton")) for name in names))' "$report"
}

# The golden values need no GPU, and PyTorch with CUDA is several gigabytes: it is never taken. The registry
# named in pip's settings comes first; where that one only has the CUDA build, PyTorch's own index of CPU
# builds. TORCH_PIP_FLAGS replaces the choice (for a mirror: --index-url https://…/whl/cpu).
install_torch() {
    local flags
    for flags in "$TORCH_PIP_FLAGS" "--index-url $TORCH_CPU_INDEX"; do
        # shellcheck disable=SC2086  # flags are several words
        if torch_is_for_cpu $flags; then
            say "Installing $TORCH for the CPU (about 200 MB) …"
            pip install --quiet $flags "$TORCH" 'numpy<2'
            pip install --quiet -r requirements-golden.txt
            return
        fi
        warn "pip install $flags $TORCH offers no CPU build for Python $P_VERSION."
        if [ -n "$TORCH_PIP_FLAGS" ]; then break; fi
    done
    warn "Name a source of CPU builds: make … TORCH_PIP_FLAGS='--index-url https://…'"
    return 1
}

check_torch() {
    say "$NAME is ready: $("$VENV/bin/python" -c '
import platform, numpy, torch
print("Python %s, PyTorch %s, NumPy %s." % (platform.python_version(), torch.__version__, numpy.__version__))')"
}

# ---------------------------------------------------------------- main

# Nothing to do, in the usual case; found out without starting an interpreter.
if [ -z "$PYTHON$MINDSPORE" ] && [ "$DRY_RUN" = no ] && [ -x "$VENV/bin/python" ] &&
    [ "$(stamp_line 1)" = "$(fingerprint)" ]; then
    exit 0
fi

examine
if [ "$ACTION" = keep ]; then
    P_VERSION=$("$VENV/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if [ "$(stamp_line 1)" = "$(fingerprint)" ] && [ "$DRY_RUN" = no ]; then exit 0; fi
    MADE_FROM=$(made_from)
    examine_mindspore
else
    find_python
fi

if [ "$KEEP" = yes ] && ! within_range mindspore "$KEEP_VERSION"; then
    warn "MindSpore $KEEP_VERSION of this machine is kept, but the course was tested with" \
        "$(requirement mindspore); some lessons may fail."
fi
if [ "$DRY_RUN" = yes ]; then
    print_plan
    exit 0
fi

case $ACTION in
    rebuild) say "Building $NAME again: $REASON." ;;
    new) say "Building $NAME with Python $P_VERSION ($P_PATH) …" ;;
    keep) say "Bringing $NAME up to date …" ;;
esac

# Where pip gives up by itself (no network, say) it has changed nothing: an environment that was complete
# stays usable and is tried again at the next run. One that is killed halfway is built again.
if [ "$ACTION" = keep ]; then
    before=$(cat "$STAMP" 2>/dev/null || true)
    write_stamp installing
else
    MADE_FROM=$P_PATH
    make_venv
fi
configure_pip

# Taken before the files are read: who edits them meanwhile gets another run, not a stamp of what is missing.
built=$(fingerprint)
case $PROFILE in
    golden) steps="install_torch check_torch" ;;
    *) steps="install_course check_course" ;;
esac
for step in $steps; do
    # In a child shell, so that set -e holds inside the step and its failure is still ours to report.
    set +e
    (
        set -e
        $step
    )
    status=$?
    set -e
    if [ "$status" -eq 0 ]; then continue; fi
    if [ "$ACTION" = keep ] && [ "$status" -lt 128 ]; then
        rm -f "$STAMP"
        [ -z "$before" ] || printf '%s\n' "$before" >"$STAMP"
    fi
    die "$NAME could not be set up; see above. Slow or no network: set PIP_INDEX_URL to a mirror near you."
done
write_stamp "$built"
