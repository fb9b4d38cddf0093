"""Measuring frozen encoders: features, k nearest neighbours, linear classifiers. Plain functions, no Runner."""

from repre_mm.evaluation.encoders import EncoderName, load_frozen_encoder
from repre_mm.evaluation.features import FrozenEncoder, extract_features, global_features
from repre_mm.evaluation.knn import knn_classify
from repre_mm.evaluation.linear_eval import PROTOCOLS, linear_eval
from repre_mm.evaluation.linear_probe import linear_probe
from repre_mm.evaluation.loaders import EvaluationError, image_folder_loader
from repre_mm.evaluation.networks import choose_network
from repre_mm.evaluation.protocol import evaluate_config, evaluate_encoder

__all__ = [
    'PROTOCOLS',
    'EncoderName',
    'EvaluationError',
    'FrozenEncoder',
    'choose_network',
    'evaluate_config',
    'evaluate_encoder',
    'extract_features',
    'global_features',
    'image_folder_loader',
    'knn_classify',
    'linear_eval',
    'linear_probe',
    'load_frozen_encoder',
]
