"""Read checkpoints safely, fill encoders from them, export: the only place that knows key names."""

from repre_mm.checkpoint.encoder import build_encoder, load_pretrained
from repre_mm.checkpoint.export import export_encoder
from repre_mm.checkpoint.inspection import inspect_checkpoint
from repre_mm.checkpoint.projectors import projector
from repre_mm.checkpoint.reading import CheckpointError, read_checkpoint
from repre_mm.checkpoint.recognise import recognise
from repre_mm.checkpoint.releases import Release, identify
from repre_mm.checkpoint.report import LoadReport

__all__ = [
    'CheckpointError',
    'LoadReport',
    'Release',
    'build_encoder',
    'export_encoder',
    'identify',
    'inspect_checkpoint',
    'load_pretrained',
    'projector',
    'read_checkpoint',
    'recognise',
]
