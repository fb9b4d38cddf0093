#!/usr/bin/env bash
# Train with several processes on one or several machines, on GPUs or on CPUs:
#   bash tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# MAX_RESTARTS=3 starts the processes again, so many times, when one of them dies; they resume by themselves.
# Several machines: the same command on each, with NNODES, NODE_RANK and MASTER_ADDR set (and PORT, if 29500 is taken).
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: bash $0 CONFIG GPUS [arguments of tools/train.py]" >&2
    exit 2
fi
config=$1 gpus=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-$([ -x "$here/../.venv/bin/python" ] && echo "$here/../.venv/bin/python" || echo python)}
exec "$python" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$gpus" \
    --max-restarts="${MAX_RESTARTS:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    "$here/train.py" "$config" --launcher pytorch "$@"
