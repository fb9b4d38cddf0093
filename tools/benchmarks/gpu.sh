#!/usr/bin/env bash
# Everything worth doing on one GPU, in under 8 minutes:
#
#     bash tools/benchmarks/gpu.sh [OUT_DIR]      (default: docs/benchmarks; PYTHON=... names the interpreter)
#
# Parity of the losses with the CPU's, throughput from JPEG files, what the branch costs, and a short real run on toy
# scenes. Each part has a time limit and goes on when another failed; the last lines say which did. mmcv's compiled ops
# are not needed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
OUT=${1:-docs/benchmarks}
PYTHON=${PYTHON:-$([[ -x .venv/bin/python ]] && echo .venv/bin/python || echo python3)}
"$PYTHON" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null ||
    { echo "error: $PYTHON finds no GPU (python -m repre_mm.doctor says why)" >&2; exit 1; }
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
GPU=$("$PYTHON" -c 'import torch; print(torch.cuda.get_device_name().lower().replace(" ", "-"))')
STEM=$(date +%Y-%m-%d)-$GPU
WORKERS=$(($(nproc) > 2 ? $(nproc) - 2 : 2))
SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT
mkdir -p "$OUT"
RESULTS=()

part() { # seconds, name, command...
    local limit=$1 name=$2 started=$SECONDS
    shift 2
    echo "== $name (at most $limit s): $*"
    if timeout "$limit" "$@"; then local how=done; else local how="FAILED ($?)"; fi
    RESULTS+=("$how in $((SECONDS - started)) s: $name")
}

part 60 parity "$PYTHON" tools/benchmarks/parity.py --device cuda --out "$OUT/$STEM-parity"
part 150 throughput "$PYTHON" tools/benchmarks/throughput.py --device cuda --batch 256 --steps 8 --rounds 3 \
    --workers "$WORKERS" --images 2048 --out "$OUT/$STEM-throughput"
part 150 overhead "$PYTHON" tools/benchmarks/overhead.py --device cuda --batch 64 --rounds 5 \
    --configs 'configs/pretrain/mocov3/repre_*.py' 'configs/pretrain/dino/repre_*vit-small*.py' \
    --out "$OUT/$STEM-overhead"
part 110 'toy scenes' "$PYTHON" tools/demo.py --work-dir "$SCRATCH/demo" --data "$SCRATCH/toy" --epochs 10

echo "== ${SECONDS} s in all"
printf '%s\n' "${RESULTS[@]}"
[[ ${RESULTS[*]} != *FAILED* ]]
