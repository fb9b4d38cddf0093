"""Score a pre-training checkpoint: the encoder by kNN and linear probe, the reconstruction branch by its L1."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce, get_world_size, is_main_process
from torch import nn
from tqdm import tqdm

from repre_mm.checkpoint import read_checkpoint
from repre_mm.evaluation.encoders import RANDOM
from repre_mm.evaluation.loaders import EvaluationError, image_folder_loader
from repre_mm.evaluation.protocol import evaluate_config
from repre_mm.models.build import build_model
from repre_mm.visualization import reconstruction_grid, save_png

#: What a checkpoint's parts that reconstruct are called.
RECONSTRUCTS = ('backbone.', 'repre_neck.', 'repre_decoder.')


def evaluate_pretraining(
    cfg: Config, checkpoint: str | os.PathLike, out_dir: str | os.PathLike, *, trust: bool = False, **options: Any
) -> dict[str, Any]:
    """Compute all scores of a pre-training checkpoint.

    Args:
        cfg: A pre-training config with ``data_root`` and ``image_size``.
        checkpoint: A training checkpoint, or ``'random'``.
        out_dir: Where ``reconstructions.png`` goes, for a model that reconstructs, and what a stop leaves behind.
        trust: See :func:`repre_mm.checkpoint.read_checkpoint`.
        **options: See :func:`repre_mm.evaluation.evaluate_config`.

    Returns:
        The result of :func:`repre_mm.evaluation.evaluate_config`; with RePre also ``recon_l1`` (mean absolute error per
        pixel and channel, in [0, 1], over the validation images) and ``reconstructions`` (a picture of the first).
    """
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    state = Path(out_dir) / 'evaluation.state'
    result = evaluate_config(cfg, checkpoint, device=device, trust=trust, state=state, **options)
    if 'algorithm' not in cfg.model:  # no RePre around it
        return result
    model = load_repre(cfg, checkpoint, trust=trust).to(device)
    picture = Path(out_dir) / 'reconstructions.png'
    total = torch.zeros(2, dtype=torch.float64)  # of the errors, and of the images
    loader = image_folder_loader(cfg.data_root, 'val', cfg.image_size, batch_size=128 * get_world_size())
    for images, _ in tqdm(loader, desc='reconstructing', unit='batch', disable=not is_main_process()):
        if not len(images):  # the share of a process in a small last batch
            continue
        inputs, drawn = images / 255, model.reconstruct(images).cpu()
        if is_main_process() and not total[1]:
            picture.parent.mkdir(parents=True, exist_ok=True)
            save_png(reconstruction_grid(inputs, drawn), picture)
        total += torch.tensor([(inputs - drawn).abs().mean(dim=(1, 2, 3)).double().sum(), len(images)])
    all_reduce(total)
    return result | {'recon_l1': (total[0] / total[1]).item(), 'reconstructions': str(picture)}


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
    named = cfg.filename or 'the config'
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model(cfg)
    if not hasattr(model, 'reconstruct'):
        raise EvaluationError(
            f'{named}: model.type={cfg.model.type!r} does not reconstruct; give a config of type='
            "'repre_mm.RePreAlgorithm'"
        )
    if str(checkpoint) != RANDOM:
        state = read_checkpoint(checkpoint, trust=trust)
        # Published weights leave out what only a training needs: projectors, target network, weights of the losses.
        spare = {name: value for name, value in model.state_dict().items() if not name.startswith(RECONSTRUCTS)}
        try:
            model.load_state_dict(spare | state.get('state_dict', state))
        except RuntimeError as error:
            raise EvaluationError(
                f'{checkpoint} does not fit {named}; reconstruction needs the training checkpoint, not an exported '
                f'encoder: {str(error)[:500]}'
            ) from error
    return model.eval()
