#!/usr/bin/env bash
# Makes .venv with the locked packages and this package, and returns at once when that is already done. Can be
# interrupted and started again at any point.
#
#   tools/setup_env.sh      what pre-training needs: nothing is compiled
#   tools/setup_env.sh ops  also mmcv's compiled ops, mmdetection and mmsegmentation
#
#   PYTHON=python3.12   which Python to use (default: the first of 3.11, 3.12, 3.10 that works)
#   FAMILY=openmmlab    OpenMMLab's originals instead of the onedl forks, in .venv-openmmlab
#   MAX_JOBS=4          how many files of mmcv to compile at once (default: all cores, 2 GiB of memory each)
#   FORCE_CUDA=1        compile mmcv's ops for CUDA although no GPU is visible here
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

FAMILY=${FAMILY:-onedl}
case ${1:-} in '' | ops) LEVEL=${1:-base} ;; *) echo "usage: tools/setup_env.sh [ops]" >&2 && exit 2 ;; esac
case $FAMILY-$LEVEL in
    onedl-*) VENV=.venv LOCK=requirements.lock ;;
    openmmlab-base) VENV=.venv-openmmlab LOCK=requirements-openmmlab.lock ;;
    openmmlab-ops) echo "set-up: OpenMMLab's mmcv is not compiled here: see docs/install.md" >&2 && exit 1 ;;
    *) echo "set-up: FAMILY=$FAMILY: onedl or openmmlab" >&2 && exit 1 ;;
esac
PY=$VENV/bin/python
OWNER=$VENV/.repre_mm-lock # there is one in each .venv that this script made
LOGS=build/setup/$FAMILY
WHEELS=${XDG_CACHE_HOME:-$HOME/.cache}/repre_mm/wheels
NEED_GIB=7           # .venv takes 5.2 GiB; the rest is for downloads under way
MMCV_CORE_MINUTES=12 # time to compile mmcv's CPU ops on one core
HEARTBEAT=15         # seconds between two lines of a step that is still running
SOURCES=(onedl-mmcv onedl-mmpretrain onedl-mmdetection onedl-mmsegmentation) # published as source only

# Settings of the caller that would send packages elsewhere, or let modules from elsewhere in.
unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONNOUSERSITE=1 UV_PYTHON_DOWNLOADS=never

stamp_of() { { echo "$1 $PWD"; sha256sum "$LOCK" pyproject.toml tools/setup_env.sh; } | sha256sum; }

is_complete() { # LEVEL
    [[ -x $PY && -f $VENV/.repre_mm-$1 && $(<"$VENV/.repre_mm-$1") == "$(stamp_of "$1")" ]] || return 1
    [[ -z ${PYTHON:-} || $("$PYTHON" -V 2>&1) == "$("$PY" -V)" ]]
}

die() {
    printf 'set-up: %s\n' "$@" >&2
    exit 1
}

# One line per fault of a Python interpreter, nothing when it will do.
python_faults() {
    "$1" - "$LEVEL" 2>/dev/null <<'PY' || echo "$1 is not a Python that runs"
import importlib.util, os, platform, sys, sysconfig
version = '%s (Python %s)' % (sys.executable, platform.python_version())
if not (3, 10) <= sys.version_info[:2] < (3, 13):
    print(version + ': 3.10, 3.11 or 3.12 is needed')
else:
    if not all(importlib.util.find_spec(name) for name in ('venv', 'ensurepip')):
        print(version + ' has no venv module: apt-get install python%d.%d-venv' % sys.version_info[:2])
    if sys.argv[1] == 'ops' and not os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h')):
        print(version + ' has no headers (Python.h): apt-get install python%d.%d-dev' % sys.version_info[:2])
PY
}

# Sets PYTHON to the base interpreter of the first candidate that will do, or adds to faults what the first one lacks.
choose_python() {
    local candidate fault first='' candidates=("$PY" python3.11 python3.12 python3.10 python3)
    [[ -z ${PYTHON:-} ]] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        if ! command -v "$candidate" >/dev/null; then
            fault="$candidate: no such command; install Python 3.10, 3.11 or 3.12, or name one with PYTHON="
        else
            fault=$(python_faults "$candidate")
        fi
        if [[ -z $fault ]]; then
            PYTHON=$("$candidate" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))')
            return
        fi
        [[ $candidate == "$PY" ]] || first=${first:-$fault}
    done
    mapfile -t -O ${#faults[@]} faults <<<"$first"
}

check_prerequisites() {
    local faults=() free
    choose_python
    command -v git >/dev/null || faults+=('no git, with which the tools record the version of a run: apt-get install git')
    free=$(df -Pk . | awk 'NR == 2 {print int($4 / 1048576)}')
    [[ -x $PY ]] || ((free >= NEED_GIB)) || faults+=("$free GiB free in $PWD: $NEED_GIB GiB are needed")
    if [[ $LEVEL == ops ]]; then
        echo '#include <optional>' | ${CXX:-g++} -std=c++17 -fsyntax-only -x c++ - 2>/dev/null ||
            faults+=("no C++17 compiler (${CXX:-g++}), which mmcv's ops need: apt-get install g++, or name one with CXX=")
        mkdir -p "$WHEELS" 2>/dev/null && [[ -w $WHEELS ]] ||
            faults+=("cannot write to the cache $WHEELS: name another folder with XDG_CACHE_HOME=")
    fi
    ((${#faults[@]} == 0)) || die "${#faults[@]} thing(s) missing:" "${faults[@]/#/  - }"
}

# run_step TEXT COMMAND...: a line when it starts, one every HEARTBEAT seconds, one when it has ended.
child='' step=0
run_step() {
    local text=$1 log status=0 start=$SECONDS next=$((SECONDS + HEARTBEAT))
    shift
    step=$((step + 1)) log=$LOGS/$LEVEL-$step.log
    echo "[$step] $text ..."
    set -m # its own process group, so that an interrupt can end all of it
    "$@" >"$log" 2>&1 </dev/null &
    child=$!
    set +m
    while kill -0 "$child" 2>/dev/null; do
        sleep 0.2
        ((SECONDS < next)) || { echo "[$step]   $((SECONDS - start)) s$(progress "$log" $((SECONDS - start)))" && next=$((SECONDS + HEARTBEAT)); }
    done
    wait "$child" || status=$?
    child=''
    if ((status != 0)); then
        tail -n 25 "$log" | sed 's/^/    /' >&2
        die "step $step ($text) failed with exit code $status. The last lines are above, all of it is in $log." \
            'Fix the cause and run the same command again: it goes on from here.'
    fi
    echo "[$step]   done in $((SECONDS - start)) s"
}

# How far a compile has come, from ninja's "[12/345]" lines in the log.
progress() {
    local seen finished total
    seen=$(grep -oE '^ *\[[0-9]+/[0-9]+\]' "$1" | tail -1 | tr -d '[] ' || true)
    [[ -n $seen ]] || return 0
    finished=${seen%/*} total=${seen#*/}
    printf ': %s of %s files, about %s min left' "$finished" "$total" $((($2 * (total - finished) / finished + 59) / 60))
}

interrupted() {
    [[ -z $child ]] || kill -TERM -- "-$child" 2>/dev/null || true
    printf '\nset-up: interrupted; the same command goes on from here.\n' >&2
    exit 130
}

# lock_of only|without 'NAME ...': those packages of the lock, or all others.
lock_of() {
    awk -v mode="$1" -v names=" $2 " '
        /^[a-z0-9]/ { split($0, part, "=="); listed = index(names, " " part[1] " ") > 0 }
        /^#/ { next }
        listed == (mode == "only")' "$LOCK"
}

# install only|without 'NAME ...' OPTION...: exact versions, checked hashes, no dependencies beyond the lock.
install() {
    local list=$LOGS/packages.txt
    lock_of "$1" "$2" >"$list"
    shift 2
    # Where Python may not keep bytecode, as in many container images, every process would compile all of it again.
    [[ -z ${PYTHONDONTWRITEBYTECODE:-} ]] || set -- --compile-bytecode "$@"
    "$VENV/bin/uv" pip install --python "$PY" --no-deps --require-hashes --no-build-isolation "$@" -r "$list"
}

make_venv() {
    [[ -x $PY && $("$PY" -V) == "$("$PYTHON" -V)" ]] || "$PYTHON" -m venv --clear "$VENV"
    touch "$OWNER"
    lock_of only uv >"$LOGS/uv.txt"
    "$PY" -m pip install --no-deps --require-hashes --only-binary :all: -r "$LOGS/uv.txt"
    install only 'ninja packaging setuptools wheel'
}

# Before torch is there: mmcv's build leaves its ops out where it finds no torch. mmcv never comes from, or goes to,
# uv's wheel cache, which files a wheel under its source alone, with or without ops and whatever torch it was built for.
install_sources() {
    [[ $FAMILY == openmmlab ]] || install only onedl-mmcv --no-cache
    [[ $FAMILY == openmmlab ]] || install only onedl-mmpretrain
    "$VENV/bin/uv" pip install --python "$PY" --no-deps --no-build-isolation -e .
}

# cpu, or CUDA version and GPU generations: what compiled ops depend on besides torch and Python.
ops_flavour() {
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

ops_work() { "$PY" -c 'import sys; from repre_mm.doctor import check_mmcv_ops as check; sys.exit(check().level != "ok")'; }

# With build isolation the build would see no torch and leave the ops out without an error.
compile_ops() { # WHEEL FOLDER, JOBS
    rm -rf "$1.part" "$LOGS/tmp"
    mkdir -p "$LOGS/tmp"
    lock_of only onedl-mmcv >"$LOGS/mmcv.txt"
    [[ $1 != *-cpu ]] || export FORCE_CUDA=0 CUDA_VISIBLE_DEVICES=
    # TMPDIR: /tmp may be small, and an interrupted build would leave its files there.
    TMPDIR=$PWD/$LOGS/tmp MMCV_WITH_OPS=1 MAX_JOBS=$2 PATH=$PWD/$VENV/bin:$PATH "$PY" -m pip wheel --verbose --no-deps \
        --no-build-isolation --no-cache-dir --no-binary onedl-mmcv --require-hashes -r "$LOGS/mmcv.txt" -w "$1.part"
    rm -rf "$1" "$LOGS/tmp"
    mv "$1.part" "$1"
}

install_ops() { # WHEEL FOLDER
    "$VENV/bin/uv" pip install --python "$PY" --no-deps --no-cache --reinstall-package onedl-mmcv "$1"/onedl_mmcv-*.whl
    ops_work
}

setup_ops() {
    local flavour wheel gib jobs
    flavour=$(ops_flavour 2>"$LOGS/flavour.log") || die "cannot tell for which device to compile: $(tail -n 1 "$LOGS/flavour.log")"
    wheel=$WHEELS/mmcv$(awk -F '[= ]+' '/^onedl-mmcv==/ {print $2}' "$LOCK")
    wheel+=-torch$("$PY" -c 'import sys, torch; print(torch.__version__ + "-cp%d%d" % sys.version_info[:2])')-$flavour
    if ! compgen -G "$wheel/onedl_mmcv-*.whl" >/dev/null; then
        gib=$(awk '/MemAvailable/ {print int($2 / 2097152)}' /proc/meminfo)
        jobs=${MAX_JOBS:-$(($(nproc) < gib ? $(nproc) : (gib > 0 ? gib : 1)))}
        run_step "compiling mmcv's ops for $flavour on $jobs core(s), $MMCV_CORE_MINUTES core-minutes on a CPU (once: the result is kept)" \
            compile_ops "$wheel" "$jobs"
    fi
    run_step "installing mmcv with its ops, from $wheel" install_ops "$wheel"
    run_step 'installing mmdetection and mmsegmentation' install only 'onedl-mmdetection onedl-mmsegmentation'
}

if is_complete "$LEVEL" || { [[ $LEVEL == base ]] && is_complete ops; }; then
    echo "set-up: $VENV is complete"
    exit 0
fi
[[ $(uname -sm) == 'Linux x86_64' ]] || die "this is $(uname -sm): $LOCK is for Linux x86_64"
mkdir -p "$LOGS" 2>/dev/null && [[ -w . && -w $LOGS ]] ||
    die "cannot write to $PWD: clone the repository into a folder of yours"
exec 9>"$LOGS/running"
flock -n 9 || die "another set-up is running in $PWD: wait for it"
[[ ! -e $VENV || -f $OWNER ]] ||
    die "$PWD/$VENV was not made by this script. Remove it (make clean-env) or move it away."
trap interrupted INT TERM HUP
check_prerequisites
if ! is_complete base; then
    rm -f "$VENV"/.repre_mm-{base,ops}
    run_step "making $VENV with $("$PYTHON" -V)" make_venv
    run_step 'installing repre_mm, and what is published as source' install_sources
    run_step 'installing PyTorch and the other packages of the lock (3 GB to download, the first time)' \
        install without "${SOURCES[*]}" --only-binary :all:
    "$PY" -m repre_mm.doctor || die 'the doctor found a fault (see above)'
    stamp_of base >"$VENV/.repre_mm-base"
fi
[[ $LEVEL == base ]] || { setup_ops && stamp_of ops >"$VENV/.repre_mm-ops"; }
echo "set-up: done in $SECONDS s"
