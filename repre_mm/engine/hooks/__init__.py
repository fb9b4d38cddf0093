"""Hooks of a pre-training run; only they know the Runner."""

from repre_mm.engine.hooks.checkpoint import SafeCheckpointHook
from repre_mm.engine.hooks.collapse import CollapseHook
from repre_mm.engine.hooks.dino import ClipGradPerParameterHook, DINOHook
from repre_mm.engine.hooks.guards import AccumulationGuardHook, WeightingGuardHook
from repre_mm.engine.hooks.momentum import MomentumUpdateHook
from repre_mm.engine.hooks.nonfinite import NonFiniteError, NonFiniteHook
from repre_mm.engine.hooks.online_knn import OnlineKNNHook
from repre_mm.engine.hooks.reconstruction import ReconstructionHook
from repre_mm.engine.hooks.signals import StopSignalHook
from repre_mm.engine.hooks.step import FastStepHook
from repre_mm.engine.hooks.throughput import ThroughputHook
from repre_mm.engine.hooks.watchdog import WatchdogHook

__all__ = [
    'AccumulationGuardHook',
    'ClipGradPerParameterHook',
    'CollapseHook',
    'DINOHook',
    'FastStepHook',
    'MomentumUpdateHook',
    'NonFiniteError',
    'NonFiniteHook',
    'OnlineKNNHook',
    'ReconstructionHook',
    'SafeCheckpointHook',
    'StopSignalHook',
    'ThroughputHook',
    'WatchdogHook',
    'WeightingGuardHook',
]
