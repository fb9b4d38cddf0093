"""Training around the model: launching, precision, several processes, hooks."""

from repre_mm.engine.distributed import DistributedDataParallel, init_distributed
from repre_mm.engine.hooks import (
    AccumulationGuardHook,
    ClipGradPerParameterHook,
    CollapseHook,
    DINOHook,
    FastStepHook,
    MomentumUpdateHook,
    NonFiniteError,
    NonFiniteHook,
    OnlineKNNHook,
    ReconstructionHook,
    SafeCheckpointHook,
    StopSignalHook,
    ThroughputHook,
    WatchdogHook,
    WeightingGuardHook,
)
from repre_mm.engine.lars import LARS
from repre_mm.engine.precision import BFloat16OptimWrapper
from repre_mm.engine.resume import ResumableRunner
from repre_mm.engine.sharding import FullyShardedDataParallel
from repre_mm.engine.vis_backend import LocalVisBackend

__all__ = [
    'LARS',
    'AccumulationGuardHook',
    'BFloat16OptimWrapper',
    'ClipGradPerParameterHook',
    'CollapseHook',
    'DINOHook',
    'DistributedDataParallel',
    'FastStepHook',
    'FullyShardedDataParallel',
    'LocalVisBackend',
    'MomentumUpdateHook',
    'NonFiniteError',
    'NonFiniteHook',
    'OnlineKNNHook',
    'ReconstructionHook',
    'ResumableRunner',
    'SafeCheckpointHook',
    'StopSignalHook',
    'ThroughputHook',
    'WatchdogHook',
    'WeightingGuardHook',
    'init_distributed',
]
