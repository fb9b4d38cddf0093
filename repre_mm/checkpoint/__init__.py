"""Reading checkpoints safely and filling encoders from them: the only place that knows key names."""

from repre_mm.checkpoint.encoder import LoadReport, encoder_state_dict, load_encoder
from repre_mm.checkpoint.reading import CheckpointError, read_checkpoint

__all__ = ['CheckpointError', 'LoadReport', 'encoder_state_dict', 'load_encoder', 'read_checkpoint']
