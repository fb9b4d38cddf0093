#!/usr/bin/env bash
# Makes .venv with everything that requirements.lock names, mmcv's compiled ops included, and this package.
# Returns at once when that is already done. Can be interrupted and started again at any point.
#
#   PYTHON=python3.12  which Python to use (default: the first of 3.11, 3.12, 3.10 that works)
#   MAX_JOBS=4         how many files of mmcv to compile at once (default: all cores, 2 GiB of memory each)
#   FORCE_CUDA=1       compile mmcv's ops for CUDA although no GPU is visible here
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ROOT=$PWD
VENV=.venv
PY=$VENV/bin/python
STAMP=$VENV/.repre_mm-complete # exists only after a set-up that succeeded
OWNER=$VENV/.repre_mm-lock     # says for which lock, Python and folder .venv was made
LOGS=build/setup
LOCK=requirements.lock
WHEELS=${XDG_CACHE_HOME:-$HOME/.cache}/repre_mm/wheels
MMCV=$VENV/.repre_mm-mmcv      # says which build of mmcv is installed
STEPS=6
MMCV_CORE_MINUTES=12 # time to compile mmcv's CPU ops, times the number of cores
HEARTBEAT=15 # seconds between two lines of a step that is still running
NEED_GIB=9   # .venv takes 5.4 GiB; the rest is for downloads under way and the build of mmcv
SOURCES=(onedl-mmcv onedl-mmdetection onedl-mmpretrain onedl-mmsegmentation) # published as source only

# Settings of the caller that would send packages elsewhere, or let modules from elsewhere in.
unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONNOUSERSITE=1 UV_PYTHON_DOWNLOADS=never

wanted_stamp() { { echo "$ROOT"; sha256sum "$LOCK" pyproject.toml tools/setup_env.sh; } | sha256sum; }

is_complete() {
    [[ -x $PY && -f $STAMP && $(<"$STAMP") == "$(wanted_stamp)" ]] || return 1
    [[ -z ${PYTHON:-} || $(python_tag "$PYTHON") == "$(python_tag "$PY")" ]]
}

die() {
    printf 'set-up: %s\n' "$@" >&2
    exit 1
}

clock() { printf '%dm%02ds' $((SECONDS / 60)) $((SECONDS % 60)); }

python_tag() { "$1" -c 'import sys; print("cp%d%d" % sys.version_info[:2])' 2>/dev/null || true; }

# One line per fault of a Python interpreter, nothing when it will do.
python_faults() {
    "$1" - 2>/dev/null <<'PY' || echo "$1 is not a Python that runs"
import importlib.util, os, platform, sys, sysconfig
version = '%s (Python %s)' % (sys.executable, platform.python_version())
if not (3, 10) <= sys.version_info[:2] < (3, 13):
    print(version + ': 3.10, 3.11 or 3.12 is needed')
else:
    if not all(importlib.util.find_spec(name) for name in ('venv', 'ensurepip')):
        print(version + ' has no venv module: apt-get install python%d.%d-venv' % sys.version_info[:2])
    if not os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h')):
        print(version + ' has no headers (Python.h): apt-get install python%d.%d-dev' % sys.version_info[:2])
PY
}

# Sets PYTHON; prints the faults of the best candidate when none will do.
choose_python() {
    local candidate fault first=''
    # That of an existing .venv comes first: a new lock should not change the Python under way.
    for candidate in "${PYTHON:-$PY}" ${PYTHON:+:} python3.11 python3.12 python3.10 python3; do
        [[ $candidate != : ]] || break # the caller's choice is the only one
        if ! command -v "$candidate" >/dev/null; then
            [[ $candidate != "$PY" ]] || continue
            fault="$candidate: no such command"
        else
            fault=$(python_faults "$candidate")
        fi
        if [[ -z $fault ]]; then
            # The base interpreter: a .venv made from an activated one would end with it.
            PYTHON=$("$candidate" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))')
            return
        fi
        first=${first:-$fault}
        [[ $fault == *' has no '* ]] && first=$fault
    done
    [[ $first == *': no such command' || $first == *'that runs' ]] && first+=': install Python 3.10, 3.11 or 3.12, or name one with PYTHON=/path/to/python3'
    echo "$first"
}

free_gib() { df -Pk "$1" | awk 'NR == 2 {print int($4 / 1048576)}'; }

check_prerequisites() {
    local faults=() cxx=${CXX:-g++} fault folder folders
    choose_python >"$LOGS/python.txt"
    while IFS= read -r fault; do faults+=("$fault"); done <"$LOGS/python.txt"
    if ! command -v "${cxx%% *}" >/dev/null; then
        faults+=("no C++ compiler ($cxx), which mmcv's ops need: apt-get install g++, or name one with CXX=")
    elif ! echo '#include <optional>' | $cxx -std=c++17 -fsyntax-only -x c++ - 2>/dev/null; then
        faults+=("$cxx does not compile C++17, which mmcv's ops need: apt-get install g++ (9 or newer)")
    fi
    command -v git >/dev/null || faults+=('no git, with which the tools record the version of a run: apt-get install git')
    if ! mkdir -p "$WHEELS" 2>/dev/null || [[ ! -w $WHEELS ]]; then
        faults+=("cannot write to the cache $WHEELS: name another folder with XDG_CACHE_HOME=")
        folders=(.)
    elif [[ $(stat -c %d .) == "$(stat -c %d "$WHEELS")" ]]; then
        folders=(.) # files of the cache and of .venv are links to each other
    else
        folders=(. "$WHEELS")
    fi
    for folder in "${folders[@]}"; do
        # A .venv that was begun holds a part of it already.
        [[ -f $OWNER ]] || (($(free_gib "$folder") >= NEED_GIB)) ||
            faults+=("$(free_gib "$folder") GiB free in $(realpath "$folder"): $NEED_GIB GiB are needed")
    done
    ((${#faults[@]} == 0)) || die "${#faults[@]} thing(s) missing:" "${faults[@]/#/  - }"
}

# Prints how far a compile has come, from ninja's "[12/345]" lines in the log.
ninja_progress() {
    local seen elapsed=$2 finished total
    seen=$(grep -oE '^ *\[[0-9]+/[0-9]+\]' "$1" | tail -1 | tr -d '[] ' || true)
    [[ -n $seen ]] || return 0
    finished=${seen%/*} total=${seen#*/}
    printf '%s of %s files, about %s min left' "$finished" "$total" \
        $(((elapsed * (total - finished) / finished + 59) / 60))
}

# run_step NUMBER TEXT COMMAND...: a line when it starts, one every HEARTBEAT seconds, one when it has ended.
child=''
run_step() {
    local number=$1 text=$2 log=$LOGS/step$1.log start=$SECONDS next progress status=0
    shift 2
    echo "[$number/$STEPS] $text ..."
    # Job control gives the step its own process group, so that an interrupt can end all of it.
    set -m
    "$@" >"$log" 2>&1 </dev/null &
    child=$!
    set +m
    next=$((SECONDS + HEARTBEAT))
    while kill -0 "$child" 2>/dev/null; do
        sleep 0.2
        if ((SECONDS >= next)); then
            progress=$(ninja_progress "$log" $((SECONDS - start)))
            echo "[$number/$STEPS]   $((SECONDS - start)) s${progress:+: $progress}"
            next=$((SECONDS + HEARTBEAT))
        fi
    done
    wait "$child" || status=$?
    child=''
    if ((status != 0)); then
        tail -n 25 "$log" | sed 's/^/    /' >&2
        die "step $number ($text) failed with exit code $status." "The last lines are above, all of it is in $log." \
            'Mend the cause and run the same command again: it goes on from here.'
    fi
    echo "[$number/$STEPS]   done in $((SECONDS - start)) s"
}

interrupted() {
    [[ -z $child ]] || kill -TERM -- "-$child" 2>/dev/null || true
    printf '\nset-up: interrupted after %s; the same command goes on from here.\n' "$(clock)" >&2
    exit 130
}

# The blocks of requirements.lock for some packages: lock_of only|without NAME...
lock_of() {
    local mode=$1
    shift
    awk -v mode="$mode" -v names=" $* " '
        /^[a-z0-9]/ { split($0, part, "=="); listed = index(names, " " part[1] " ") > 0 }
        /^#/ { next }
        listed == (mode == "only")' "$LOCK"
}

# Every install goes through here: exact versions, checked hashes, no dependencies beyond the lock.
install_locked() {
    local list=$1
    shift
    "$VENV/bin/uv" pip install --python "$PY" --no-deps --require-hashes "$@" -r "$list"
}

make_venv() {
    if [[ ! -x $PY || ! -f $OWNER || $(<"$OWNER") != "$owner" ]]; then
        "$PYTHON" -m venv --clear "$VENV"
        echo "$owner" >"$OWNER"
    fi
    lock_of only uv >"$LOGS/uv.txt"
    "$PY" -m pip install --no-deps --require-hashes --only-binary :all: -r "$LOGS/uv.txt"
}

install_wheels() {
    lock_of without "${SOURCES[@]}" >"$LOGS/wheels.txt"
    install_locked "$LOGS/wheels.txt" --only-binary :all:
}

# cpu, or CUDA version and GPU generations: what a built mmcv depends on besides torch and Python.
mmcv_flavour() {
    "$PY" - <<'PY'
import os, re, subprocess
import torch
from torch.utils.cpp_extension import CUDA_HOME

forced = os.environ.get('FORCE_CUDA') == '1'
if not (torch.cuda.is_available() or forced):
    print('cpu')
    raise SystemExit
nvcc = os.path.join(CUDA_HOME or '', 'bin', 'nvcc')
found = re.search(r'release (\d+)', subprocess.getoutput(f'{nvcc} --version')) if os.path.exists(nvcc) else None
if found is None or found[1] != torch.version.cuda.split('.')[0]:
    if forced:
        raise SystemExit(f'FORCE_CUDA=1 needs nvcc of CUDA {torch.version.cuda}; CUDA_HOME is {CUDA_HOME}')
    print('cpu')  # as for a machine without a GPU; the doctor says what that means
    raise SystemExit
archs = os.environ.get('TORCH_CUDA_ARCH_LIST')
if not archs:
    count = torch.cuda.device_count()
    archs = '_'.join(sorted({'sm%d%d' % torch.cuda.get_device_capability(i) for i in range(count)})) or 'default'
print(f'cu{torch.version.cuda}-{re.sub("[^A-Za-z0-9.]+", "_", archs)}'.lower())
PY
}

mmcv_ops_work() {
    (cd / && "$ROOT/$PY" -c '
import torch
from mmcv.ops import nms
boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30]])
assert nms(boxes, torch.tensor([0.9, 0.8, 0.7]), iou_threshold=0.4)[1].tolist() == [0, 2]')
}

# Neither pip's nor uv's wheel cache may serve mmcv: they file it under its source alone, so that a wheel built
# against another torch, or built without torch and therefore without ops, would come back. With build isolation
# the build sees no torch and leaves the ops out without an error.
build_mmcv() {
    local out=$1 jobs=$2
    export TMPDIR=$ROOT/$LOGS/tmp # not /tmp: it may be small, and an interrupted build would leave its files there
    rm -rf "$out.part" "$TMPDIR"
    mkdir -p "$TMPDIR"
    lock_of only onedl-mmcv >"$LOGS/mmcv.txt"
    export MMCV_WITH_OPS=1 MAX_JOBS=$jobs
    [[ $out != *-cpu ]] || export FORCE_CUDA=0 CUDA_VISIBLE_DEVICES=
    PATH=$ROOT/$VENV/bin:$PATH "$PY" -m pip wheel --verbose --no-deps --no-build-isolation --no-cache-dir \
        --no-binary onedl-mmcv --require-hashes -r "$LOGS/mmcv.txt" -w "$out.part"
    rm -rf "$out" "$TMPDIR"
    mv "$out.part" "$out"
}

install_mmcv_wheel() {
    "$VENV/bin/uv" pip install --python "$PY" --no-deps --no-cache --reinstall-package onedl-mmcv "$1"/onedl_mmcv-*.whl
    mmcv_ops_work
}

setup_mmcv() {
    local number=$1 version flavour wheel jobs gib minutes
    version=$(awk -F '[= ]+' '/^onedl-mmcv==/ {print $2}' "$LOCK")
    flavour=$(mmcv_flavour 2>"$LOGS/step$number.log") ||
        die "cannot tell for which device to compile mmcv: $(tail -n 1 "$LOGS/step$number.log")"
    wheel=$WHEELS/mmcv$version-torch$("$PY" -c 'import torch; print(torch.__version__)')-$(python_tag "$PY")-$flavour
    if [[ -f $MMCV && $(<"$MMCV") == "${wheel##*/}" ]] && mmcv_ops_work >/dev/null 2>&1; then
        echo "[$number/$STEPS] mmcv's ops are there"
        return
    fi
    if compgen -G "$wheel/onedl_mmcv-*.whl" >/dev/null; then
        echo "[$number/$STEPS] mmcv's ops: compiled before, in $wheel"
        if install_mmcv_wheel "$wheel" >>"$LOGS/step$number.log" 2>&1; then
            echo "${wheel##*/}" >"$MMCV"
            return
        fi
        echo "[$number/$STEPS]   that one does not work here: compiling again"
    fi
    gib=$(awk '/MemAvailable/ {print int($2 / 2097152)}' /proc/meminfo)
    jobs=${MAX_JOBS:-$(($(nproc) < gib ? $(nproc) : (gib > 0 ? gib : 1)))}
    minutes=", about $(((MMCV_CORE_MINUTES + jobs - 1) / jobs)) minutes"
    [[ $flavour == cpu ]] || minutes=''
    run_step "$number" "compiling mmcv's ops for $flavour on $jobs core(s)$minutes (once: the result is kept)" \
        build_mmcv "$wheel" "$jobs"
    install_mmcv_wheel "$wheel" >>"$LOGS/step$number.log" 2>&1 ||
        die "mmcv's ops were compiled but do not run: see $LOGS/step$number.log"
    echo "${wheel##*/}" >"$MMCV"
}

install_sources() {
    lock_of only "${SOURCES[@]:1}" >"$LOGS/sources.txt"
    install_locked "$LOGS/sources.txt" --no-build-isolation
    "$VENV/bin/uv" pip install --python "$PY" --no-deps --no-build-isolation -e .
    # Images of containers often forbid Python to keep bytecode: every process would compile all of it again.
    "$PY" -m compileall -q -j 0 "$VENV"/lib/python3*/site-packages || true # some packages hold templates, no Python
}

if is_complete; then
    echo "set-up: $VENV is complete"
    exit 0
fi
[[ $(uname -sm) == 'Linux x86_64' ]] || die "this is $(uname -sm): requirements.lock is for Linux x86_64"
mkdir -p "$LOGS" 2>/dev/null && [[ -w . && -w $LOGS ]] ||
    die "cannot write to $ROOT: clone the repository into a folder of yours"
exec 9>"$LOGS/running"
flock -n 9 || die "another set-up is running in $ROOT: wait for it"
[[ ! -e $VENV || -f $OWNER ]] || die "$ROOT/$VENV was not made by this script." \
    'Remove it (make clean-env) or move it away.'
trap interrupted INT TERM HUP
rm -f "$STAMP"

echo "[1/$STEPS] checking what this machine has"
check_prerequisites
stamp=$(wanted_stamp) # of what is installed now, should the lock change meanwhile
owner=$({ "$PYTHON" --version; echo "$PYTHON $ROOT"; cat "$LOCK"; } | sha256sum)
run_step 2 "making $VENV with $("$PYTHON" --version)" make_venv
run_step 3 'installing PyTorch and the other packages of the lock (3 GB to download, the first time)' install_wheels
setup_mmcv 4
run_step 5 'installing mmpretrain, mmdetection, mmsegmentation and repre_mm' install_sources
echo "[6/$STEPS] asking the doctor"
"$PY" -m repre_mm.doctor || die 'the doctor found a fault (see above)'
echo "$stamp" >"$STAMP"
echo "set-up: done in $(clock)"
