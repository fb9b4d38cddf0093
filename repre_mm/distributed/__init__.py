"""Several processes: joining and leaving, DDP, split parameters, SyncBatchNorm."""

from repre_mm.distributed.processes import DistributedDataParallel, init_distributed
from repre_mm.distributed.sharding import FullyShardedDataParallel

__all__ = ['DistributedDataParallel', 'FullyShardedDataParallel', 'init_distributed']
