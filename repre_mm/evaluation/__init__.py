"""Measuring frozen encoders: features, k nearest neighbours, linear classifiers. Plain functions, no Runner."""

from repre_mm.evaluation.features import extract_features, global_features, probe_features
from repre_mm.evaluation.knn import knn_classify
from repre_mm.evaluation.linear_eval import PROTOCOLS, linear_eval
from repre_mm.evaluation.linear_probe import LinearProbeResult, linear_probe
from repre_mm.evaluation.protocol import (
    EvaluationError,
    evaluate_config,
    image_folder_loader,
    load_frozen_encoder,
)

__all__ = [
    'PROTOCOLS',
    'EvaluationError',
    'LinearProbeResult',
    'evaluate_config',
    'extract_features',
    'global_features',
    'image_folder_loader',
    'knn_classify',
    'linear_eval',
    'linear_probe',
    'load_frozen_encoder',
    'probe_features',
]
