"""Training around the model: launching, precision, several processes, hooks."""

from repre_mm.engine.distributed import DistributedDataParallel, init_distributed
from repre_mm.engine.hooks import (
    ClipGradPerParameterHook,
    DINOHook,
    MomentumUpdateHook,
    OnlineKNNHook,
    ReconstructionHook,
    ThroughputHook,
    WeightingGuardHook,
)
from repre_mm.engine.precision import BFloat16OptimWrapper

__all__ = [
    'BFloat16OptimWrapper',
    'ClipGradPerParameterHook',
    'DINOHook',
    'DistributedDataParallel',
    'MomentumUpdateHook',
    'OnlineKNNHook',
    'ReconstructionHook',
    'ThroughputHook',
    'WeightingGuardHook',
    'init_distributed',
]
