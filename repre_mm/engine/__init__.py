"""Training around the model: launching, precision, hooks."""

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
from repre_mm.engine.optim.precision import BFloat16OptimWrapper
from repre_mm.engine.resilience.vis_backend import LocalVisBackend
from repre_mm.engine.runner import ResumableRunner
from repre_mm.engine.safe_loading import install_safe_loading

__all__ = [
    'AccumulationGuardHook',
    'BFloat16OptimWrapper',
    'ClipGradPerParameterHook',
    'CollapseHook',
    'DINOHook',
    'FastStepHook',
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
    'install_safe_loading',
]
