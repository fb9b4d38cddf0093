"""The part-aware study: what frozen encoders know of parts and of whole objects."""

from repre_mm.studies.parts.coco import read_coco
from repre_mm.studies.parts.data import PartData, PartImages, check_pair, object_note
from repre_mm.studies.parts.encoders import parse_encoder, parse_encoders
from repre_mm.studies.parts.layouts import LAYOUTS, open_coco, open_layout
from repre_mm.studies.parts.pooled import quick_study
from repre_mm.studies.parts.recognition import LEVELS, TASKS, study_encoder
from repre_mm.studies.parts.representations import find_projector, load_projector
from repre_mm.studies.parts.retrieval import retrieve
from repre_mm.studies.parts.retrieval_sheet import retrieval_sheet
from repre_mm.studies.parts.table import QUICK_COLUMNS, STUDY_COLUMNS, markdown_table

__all__ = [
    'LAYOUTS',
    'LEVELS',
    'QUICK_COLUMNS',
    'STUDY_COLUMNS',
    'TASKS',
    'PartData',
    'PartImages',
    'check_pair',
    'find_projector',
    'load_projector',
    'markdown_table',
    'object_note',
    'open_coco',
    'open_layout',
    'parse_encoder',
    'parse_encoders',
    'quick_study',
    'read_coco',
    'retrieval_sheet',
    'retrieve',
    'study_encoder',
]
