"""Scores reported by the RePre paper (arXiv 2201.06857, Tables 1 to 5), in percent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Linear:
    """A row of Table 1: linear evaluation on ImageNet-1K, without and with RePre."""

    method: str
    arch: str
    epochs: int
    base: float
    repre: float


@dataclass(frozen=True)
class Detection:
    """A row of Table 2: Mask R-CNN on COCO. ``repre`` is None where the encoder was trained with labels."""

    method: str
    repre: bool | None
    epochs: int
    box: float
    mask: float


@dataclass(frozen=True)
class Segmentation:
    """A row of Table 3: SETR on Cityscapes, ViT-S of 300 epochs."""

    method: str
    repre: bool | None
    miou: float
    macc: float


TABLE_1 = (
    Linear('SimCLR', 'ViT-S', 300, 69.0, 69.7),
    Linear('BYOL', 'ViT-S', 300, 71.4, 72.2),
    Linear('MoCo v2', 'ViT-S', 300, 71.6, 72.1),
    Linear('MoCo v2', 'ViT-S', 800, 72.7, 73.4),
    Linear('MoCo v3', 'ViT-S', 300, 72.5, 73.2),
    Linear('MoCo v3', 'ViT-S', 600, 73.4, 73.9),
    Linear('MoBY', 'ViT-S', 300, 72.8, 73.9),
    Linear('DINO', 'ViT-S', 300, 75.9, 76.7),
    Linear('DINO', 'ViT-S', 800, 77.0, 77.9),
    Linear('SimCLR', 'ViT-B', 300, 73.9, 74.4),
    Linear('BYOL', 'ViT-B', 300, 73.9, 74.8),
    Linear('MoCo v3', 'ViT-B', 300, 76.5, 77.2),
    Linear('MoCo v3', 'ViT-B', 600, 76.7, 77.5),
    Linear('DINO', 'ViT-B', 800, 78.2, 79.2),
    Linear('MoCo v3', 'Swin-T', 300, 75.4, 76.4),
    Linear('MoBY', 'Swin-T', 100, 70.9, 71.8),
    Linear('MoBY', 'Swin-T', 300, 75.0, 76.1),
)

SUPERVISED = 'IN Sup.'
TABLE_2 = (
    Detection(SUPERVISED, None, 100, 41.6, 38.4),
    Detection(SUPERVISED, None, 300, 43.7, 39.8),
    Detection('MoBY', False, 100, 41.5, 38.3),
    Detection('MoBY', True, 100, 42.1, 39.2),
    Detection('MoBY', False, 300, 43.6, 39.6),
    Detection('MoBY', True, 300, 44.8, 40.3),
    Detection('DINO', False, 100, 42.2, 38.7),
    Detection('DINO', True, 100, 43.1, 40.0),
)

TABLE_3 = (
    Segmentation(SUPERVISED, None, 71.33, 80.30),
    Segmentation('DINO', False, 72.96, 81.32),
    Segmentation('DINO', True, 73.40, 81.95),
)

#: Table 4: (method, encoder) -> features that are decoded -> top-1 of linear evaluation.
TABLE_4 = {
    ('MoCo v3', 'ViT-S'): {'none': 72.5, 'single': 72.8, 'multi': 73.2},
    ('MoBY', 'ViT-S'): {'none': 72.8, 'single': 73.1, 'multi': 73.9},
    ('MoCo v3', 'Swin-T'): {'none': 75.4, 'single': 75.7, 'multi': 76.4},
    ('MoBY', 'Swin-T'): {'none': 75.0, 'single': 75.4, 'multi': 76.1},
}

#: Table 5: encoder -> (operator, number of layers) of the fusion layer -> top-1, with MoCo v3.
TABLE_5 = {
    'ViT-S': {
        ('w/o decoder', None): 72.5,
        ('Conv', 1): 73.0,
        ('Conv', 2): 73.2,
        ('Conv', 4): 73.2,
        ('Transformer', 1): 71.8,
        ('Transformer', 2): 72.0,
        ('Transformer', 4): 71.4,
    },
    'Swin-T': {
        ('w/o decoder', None): 75.4,
        ('Conv', 1): 76.1,
        ('Conv', 2): 76.4,
        ('Conv', 4): 76.2,
        ('Transformer', 1): 74.6,
        ('Transformer', 2): 75.2,
        ('Transformer', 4): 74.5,
    },
}
