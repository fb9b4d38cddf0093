"""Self-supervised algorithms that mmpretrain lacks, or corrections of its own, and their target network."""

from repre_mm.models.selfsup.dino import DINO, DINOHead, DINONeck
from repre_mm.models.selfsup.ema import CosineEMA, disable_drop_path
from repre_mm.models.selfsup.moby import MoBY
from repre_mm.models.selfsup.moco import MoCo, MoCoV3Head
from repre_mm.models.selfsup.simclr import SimCLR

__all__ = ['DINO', 'CosineEMA', 'DINOHead', 'DINONeck', 'MoBY', 'MoCo', 'MoCoV3Head', 'SimCLR', 'disable_drop_path']
