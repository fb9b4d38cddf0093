"""Everything of a training but the model: launching, checks, hooks, optimizer, exact resume."""

from repre_mm.engine.hooks.checkpoint import SafeCheckpointHook
from repre_mm.engine.hooks.collapse import CollapseHook
from repre_mm.engine.hooks.dino import ClipGradPerParameterHook, DINOHook
from repre_mm.engine.hooks.gradient_balance import GradientBalanceHook
from repre_mm.engine.hooks.guards import AccumulationGuardHook, WeightingGuardHook
from repre_mm.engine.hooks.momentum import MomentumUpdateHook
from repre_mm.engine.hooks.nonfinite import NonFiniteError, NonFiniteHook
from repre_mm.engine.hooks.online_knn import OnlineKNNHook
from repre_mm.engine.hooks.online_probe import OnlineProbeHook
from repre_mm.engine.hooks.reconstruction import ReconstructionHook
from repre_mm.engine.hooks.signals import StopSignalHook
from repre_mm.engine.hooks.step import FastStepHook
from repre_mm.engine.hooks.throughput import ThroughputHook
from repre_mm.engine.hooks.watchdog import WatchdogHook
from repre_mm.engine.optim.layer_decay import LayerDecayConstructor
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
    'GradientBalanceHook',
    'LayerDecayConstructor',
    'LocalVisBackend',
    'MomentumUpdateHook',
    'NonFiniteError',
    'NonFiniteHook',
    'OnlineKNNHook',
    'OnlineProbeHook',
    'ReconstructionHook',
    'ResumableRunner',
    'SafeCheckpointHook',
    'StopSignalHook',
    'ThroughputHook',
    'WatchdogHook',
    'WeightingGuardHook',
    'install_safe_loading',
]
