"""Score a pre-training checkpoint as a whole: the encoder by kNN and linear probe, the branch by its L1."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from tqdm import tqdm

from repre_mm.checkpoint import read_checkpoint
from repre_mm.evaluation.protocol import evaluate_config, image_folder_loader
from repre_mm.visualization import reconstruction_grid, save_png


def evaluate_pretraining(
    cfg: Config, checkpoint: str | os.PathLike, out_dir: str | os.PathLike, *, amp: bool = False, trust: bool = False
) -> dict[str, Any]:
    """All scores of a pre-training checkpoint.

    Args:
        cfg: A pre-training config with ``data_root`` and ``image_size``.
        checkpoint: A training checkpoint.
        out_dir: Where ``reconstructions.png`` goes, for a model that reconstructs.
        amp: bf16 for the features.
        trust: See :func:`repre_mm.checkpoint.read_checkpoint`.

    Returns:
        The result of :func:`repre_mm.evaluation.evaluate_config`; with RePre also ``recon_l1`` (mean absolute
        error per pixel and channel, in [0, 1], over the validation images) and ``reconstructions`` (the picture).
    """
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    result = evaluate_config(cfg, checkpoint, device=device, amp=amp, trust=trust)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmpretrain'):
        model = MODELS.build({'data_preprocessor': cfg.get('data_preprocessor'), **cfg.model})
    if hasattr(model, 'reconstruct'):
        model.load_state_dict(read_checkpoint(checkpoint, trust=trust)['state_dict'])
        picture = Path(out_dir) / 'reconstructions.png'
        result['recon_l1'] = reconstruction_error(model.to(device), cfg.data_root, cfg.image_size, picture)
        result['reconstructions'] = str(picture)
    return result


def reconstruction_error(
    model: nn.Module, root: str | os.PathLike, image_size: int, picture: str | os.PathLike
) -> float:
    """Mean absolute error over the validation images, and a picture of the first of them.

    Args:
        model: A RePre model, on its device.
        root: Holds ``val``.
        image_size: Side of the crop.
        picture: PNG to write.

    Returns:
        The error per pixel and channel, in [0, 1].
    """
    total, count = 0.0, 0
    for images, _ in tqdm(image_folder_loader(root, 'val', image_size), desc='reconstructing', unit='batch'):
        inputs = images / 255
        drawn = model.reconstruct(images).cpu()
        if count == 0:
            Path(picture).parent.mkdir(parents=True, exist_ok=True)
            save_png(reconstruction_grid(inputs, drawn), picture)
        total += (inputs - drawn).abs().mean(dim=(1, 2, 3)).sum().item()
        count += len(images)
    return total / count
