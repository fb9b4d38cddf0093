"""Join and leave a group of processes, on GPUs over nccl or on CPUs over gloo."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from mmpretrain.models.selfsup import MoCoV3ViT
from torch import nn

from repre_mm.distributed.sync_batchnorm import sync_batchnorm_on_cpu
from repre_mm.registry import MODEL_WRAPPERS
from repre_mm.utils.errors import UserError

# What each launcher sets for its processes, and the script that starts it.
_LAUNCHED_BY = {'pytorch': ('RANK', 'tools/dist_train.sh'), 'slurm': ('SLURM_PROCID', 'tools/slurm_train.sh')}
_joined_gloo = False


def init_distributed(launcher: str, dist_cfg: Mapping | None = None, *, runner: bool = True) -> None:
    """Join the process group where the Runner cannot: without GPUs, and after a restart by torchrun.

    mmengine calls ``torch.cuda.set_device``, which fails without a GPU; it skips all this if the group exists.

    Args:
        launcher: ``'none'``, ``'pytorch'`` (torchrun) or ``'slurm'``.
        dist_cfg: ``env_cfg.dist_cfg``: the ``backend`` of processes on GPUs (default nccl), and the ``timeout`` of
            collectives in seconds.
        runner: Whether a Runner follows, which joins itself where it can.

    Raises:
        UserError: See :func:`check_launcher`.
    """
    check_launcher(launcher)
    on_gpus = torch.cuda.is_available()
    again = launcher == 'pytorch' and started_again()
    if launcher == 'none' or dist.is_initialized() or (runner and on_gpus and not again):
        return
    if launcher == 'slurm':
        _read_slurm()
    global _joined_gloo
    dist_cfg = dist_cfg or {}
    options = _fresh_store() if again else {}
    if 'timeout' in dist_cfg:
        options['timeout'] = timedelta(seconds=dist_cfg['timeout'])
    if on_gpus:
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
    dist.init_process_group(dist_cfg.get('backend', 'nccl') if on_gpus else 'gloo', **options)
    _joined_gloo = dist.get_backend() == 'gloo'


def _fresh_store() -> dict:
    """Options of ``init_process_group`` for processes that torchrun has restarted.

    torchrun's agent keeps the store of the first start, where a process may find the address of one that has ended,
    and wait for it until the timeout.
    """
    if os.environ.get('TORCHELASTIC_USE_AGENT_STORE') != 'True':
        return {}
    store = dist.TCPStore(os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']), is_master=False)
    return {
        'store': dist.PrefixStore(f'start {os.environ["TORCHELASTIC_RESTART_COUNT"]}', store),
        'rank': int(os.environ['RANK']),
        'world_size': int(os.environ['WORLD_SIZE']),
    }


def check_launcher(launcher: str) -> None:
    """Refuse a launcher that has not started this process.

    Raises:
        UserError: The variable that it sets is missing.
    """
    name, script = _LAUNCHED_BY.get(launcher, ('', ''))
    if name and name not in os.environ:
        raise UserError(
            f'--launcher {launcher} needs the environment variable {name}: start the run with {script}, or leave '
            '--launcher out'
        )


def checked_by_another(launcher: str) -> bool:
    """Return whether torchrun, which ends all processes when one fails, has also started the first of this machine."""
    return launcher == 'pytorch' and 'TORCHELASTIC_RUN_ID' in os.environ and os.environ.get('LOCAL_RANK') != '0'


def started_again() -> bool:
    """Return whether torchrun has restarted this process (``--max-restarts``), with its first command line."""
    return int(os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)) > 0


def leave_distributed() -> None:
    """Leave the process group, if there is one, once all processes have come here."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def run_to_the_end(main: Callable[[], object]) -> None:
    """Call a tool's main function; end a process that joined a gloo group by :func:`end_process`."""
    status = 0
    try:
        main()
    except SystemExit as stop:
        if not _joined_gloo:
            raise
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    if _joined_gloo:
        end_process(status)


def end_process(status: int = 0) -> NoReturn:
    """End as Python does, but without the teardown of the interpreter.

    A thread of gloo frees the tensors of a collective some time after the caller has gone on. During the teardown it
    could not take the interpreter's lock, and would abort the process although all work is done.
    """
    threading._shutdown()  # waits for threads that still save a checkpoint
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _read_slurm() -> None:
    """Set torch's variables from Slurm's."""
    names = {'RANK': 'SLURM_PROCID', 'WORLD_SIZE': 'SLURM_NTASKS', 'LOCAL_RANK': 'SLURM_LOCALID'}
    for name, source in names.items():
        if source in os.environ:
            os.environ[name] = os.environ[source]
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ and 'SLURM_NODELIST' in os.environ:
        command = ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']]
        os.environ['MASTER_ADDR'] = subprocess.check_output(command, text=True).split()[0]


@MODEL_WRAPPERS.register_module()
class DistributedDataParallel(MMDistributedDataParallel):
    """MMEngine's DDP with three fixes.

    - On CPUs there are no device ids, and torch's SyncBatchNorm, which refuses them, is replaced.
    - DDP rebuilds its buckets after the first step. With three or more processes that changes the order of sums, so
      that a resumed training would differ from an uninterrupted one by rounding. On CPUs this is prevented; on GPUs,
      where kernels are not deterministic either, it is not.
    - ``MoCoV3ViT`` freezes its position embedding in ``init_weights()``, which the Runner calls after wrapping;
      DDP would then wait for a gradient that never comes. It is frozen before.
    """

    def __init__(self, module: nn.Module, device_ids: list[int] | None = None, **kwargs) -> None:
        for child in module.modules():
            if isinstance(child, MoCoV3ViT):
                child.pos_embed.requires_grad = False
        if next(module.parameters()).device.type == 'cpu':
            device_ids = None
            sync_batchnorm_on_cpu(module)
            kwargs.setdefault('find_unused_parameters', True)  # which keeps DDP from rebuilding its buckets
        kwargs.setdefault('broadcast_buffers', False)
        super().__init__(module=module, device_ids=device_ids, **kwargs)
