"""Score a pre-training checkpoint: the encoder by kNN and linear probe, the reconstruction branch by its L1."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn
from tqdm import tqdm

from repre_mm.checkpoint import read_checkpoint
from repre_mm.evaluation.encoders import RANDOM
from repre_mm.evaluation.loaders import EvaluationError, image_folder_loader
from repre_mm.evaluation.protocol import evaluate_config
from repre_mm.models.build import build_model
from repre_mm.visualization import reconstruction_grid, save_png


def evaluate_pretraining(
    cfg: Config, checkpoint: str | os.PathLike, out_dir: str | os.PathLike, *, trust: bool = False, **options: Any
) -> dict[str, Any]:
    """Compute all scores of a pre-training checkpoint.

    Args:
        cfg: A pre-training config with ``data_root`` and ``image_size``.
        checkpoint: A training checkpoint, or ``'random'``.
        out_dir: Where ``reconstructions.png`` goes, for a model that reconstructs.
        trust: See :func:`repre_mm.checkpoint.read_checkpoint`.
        **options: See :func:`repre_mm.evaluation.evaluate_config`.

    Returns:
        The result of :func:`repre_mm.evaluation.evaluate_config`; with RePre also ``recon_l1`` (see
        :func:`reconstruction_error`) and ``reconstructions`` (the picture).
    """
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    result = evaluate_config(cfg, checkpoint, device=device, trust=trust, **options)
    model = _build(cfg)
    if hasattr(model, 'reconstruct'):
        model = _filled(model, cfg, checkpoint, trust).to(device)
        picture = Path(out_dir) / 'reconstructions.png'
        result['recon_l1'] = reconstruction_error(model, cfg.data_root, cfg.image_size, picture)
        result['reconstructions'] = str(picture)
    return result


def load_repre(cfg: Config, checkpoint: str | os.PathLike, seed: int = 0, *, trust: bool = False) -> nn.Module:
    """Build a whole RePre model, fill it and put it in evaluation mode.

    Args:
        cfg: Its config.
        checkpoint: A training checkpoint, or ``'random'``.
        seed: Of random weights.
        trust: See :func:`repre_mm.checkpoint.read_checkpoint`.

    Raises:
        EvaluationError: The config's model does not reconstruct, or the checkpoint is of another one.
        repre_mm.checkpoint.CheckpointError: The checkpoint is unreadable.
    """
    model = _build(cfg, seed)
    if not hasattr(model, 'reconstruct'):
        raise EvaluationError(
            f'{cfg.filename or "the config"}: model.type={cfg.model.type!r} does not reconstruct; give a config of '
            "type='repre_mm.RePreAlgorithm'"
        )
    return _filled(model, cfg, checkpoint, trust)


def _build(cfg: Config, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_model(cfg)


def _filled(model: nn.Module, cfg: Config, checkpoint: str | os.PathLike, trust: bool) -> nn.Module:
    if str(checkpoint) != RANDOM:
        state = read_checkpoint(checkpoint, trust=trust)
        try:
            model.load_state_dict(state.get('state_dict', state))
        except RuntimeError as error:
            raise EvaluationError(
                f'{checkpoint} does not fit {cfg.filename or "the config"}; reconstruction needs the training '
                f'checkpoint, not an exported encoder: {str(error)[:500]}'
            ) from error
    return model.eval()


def reconstruction_error(
    model: nn.Module, root: str | os.PathLike, image_size: int, picture: str | os.PathLike
) -> float:
    """Compute the mean absolute error per pixel and channel, in [0, 1], over the images of ``root/val``.

    ``picture`` is a PNG of the first of them, to write.
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
