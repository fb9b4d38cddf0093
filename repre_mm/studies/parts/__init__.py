"""What frozen encoders know of parts and of objects: recognition, segmentation and retrieval by patches."""

from repre_mm.studies.parts.annotations import PartAnnotations, PartImages
from repre_mm.studies.parts.encoders import load_named_encoder, parse_encoder
from repre_mm.studies.parts.recognition import check_pair, study_encoder
from repre_mm.studies.parts.retrieval import load_projector, retrieval_sheet, retrieve
from repre_mm.studies.parts.table import markdown_table, object_note

__all__ = [
    'PartAnnotations',
    'PartImages',
    'check_pair',
    'load_named_encoder',
    'load_projector',
    'markdown_table',
    'object_note',
    'parse_encoder',
    'retrieval_sheet',
    'retrieve',
    'study_encoder',
]
