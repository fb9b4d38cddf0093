"""Representations by which patches are compared: encoded, class token, and projected.

As in the part-aware study (``retrieval-classification/moco/builder.py`` and ``vits.py``, ``extract``), the encoded
representation is the mean of the patch tokens after the final norm; the class token is separate. A projection is the
output of the pre-training's projector for the encoder's own vector. Of DINO and iBOT the study takes the scores of the
prototypes (65,536 or 8,192 numbers); here it is the output of the layers before them, 256 numbers.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from repre_mm.checkpoint import CheckpointError, read_checkpoint
from repre_mm.checkpoint.projectors import projector
from repre_mm.evaluation import EncoderName
from repre_mm.evaluation.encoders import RANDOM
from repre_mm.evaluation.features import FrozenEncoder, global_features
from repre_mm.studies.parts.crops import Crops, check_finite, crop_batches, tokens_of
from repre_mm.utils.errors import UserError
from repre_mm.utils.modules import eval_mode

REPRESENTATIONS = ('encoded', 'class token', 'projected')


class Projector(nn.Module):
    """A projector with its input: an encoder's own output, or the one vector that is made of it.

    Args:
        layers: The projector, filled.
        pooled: It takes (B, C) vectors; otherwise the encoder's output as it is, as mmpretrain's necks do.
    """

    def __init__(self, layers: nn.Module, pooled: bool) -> None:
        super().__init__()
        self.layers, self.pooled = layers, pooled
        self.eval()
        self.requires_grad_(False)

    def forward(self, encoder: nn.Module, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> (B, D)."""
        if self.pooled:
            return self.layers(global_features(encoder, images))
        with eval_mode(encoder):
            projected = self.layers(encoder(images))
        return projected[0] if isinstance(projected, (tuple, list)) else projected


def load_projector(
    name: EncoderName, *, prefix: str | None = None, network: str | None = None, trust: bool = False, seed: int = 0
) -> Projector:
    """Load the projector of a network: of a config's own training, or a release of MoCo v3, DINO, iBOT or MoBY.

    The arguments are those of :func:`repre_mm.evaluation.load_frozen_encoder`.

    Raises:
        UserError: There is none, or it does not fit the config.
        repre_mm.checkpoint.CheckpointError: The file is unreadable, or a release without a projector.
    """
    cfg = name.config()
    if name.weights == RANDOM:
        if cfg is None:
            raise UserError(f'{name} has no projector: name a config, or a file that has one')
        return Projector(_neck(cfg, seed, initialise=True), pooled=False)
    content = read_checkpoint(name.weights, trust=trust)
    chosen = name.network(prefix=prefix, network=network, trust=trust)
    place = _neck_prefix(chosen.prefix)
    tensors = content.get('state_dict', {})
    state = {key.removeprefix(place): value for key, value in tensors.items() if place and key.startswith(place)}
    if cfg is None or (not state and chosen.release is not None):
        which = network or ('target' if chosen.reason.startswith('target') else 'online')
        return Projector(projector(content, which), pooled=True)
    if not state:
        raise UserError(
            f'{name.weights} has no projector ({place or "neck."}*): name the training checkpoint, not an exported '
            'encoder'
        )
    layers = _neck(cfg, seed, initialise=False)
    try:
        layers.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f'the projector in {name.weights} does not fit the config: {error}') from error
    return Projector(layers, pooled=False)


def find_projector(name: EncoderName, **options: Any) -> Projector | None:
    """:func:`load_projector`, or None, with the reason in the log, if there is none that fits."""
    try:
        return load_projector(name, **options)
    except (CheckpointError, UserError) as error:
        print_log(f'no projections: {error}', logger='current')
        return None


@torch.no_grad()
def represent(encoder: FrozenEncoder, projection: Projector | None, images: Tensor) -> dict[str, Tensor]:
    """All representations of patches (B, 3, S, S) in [0, 255]: name -> (B, D), of unit length, on the CPU.

    Without a projector there is no ``'projected'``.
    """
    inputs = encoder.normalised(images)
    tokens = tokens_of(encoder.module, inputs)
    found = {'encoded': tokens[:, 1:].mean(dim=1), 'class token': tokens[:, 0]}
    if projection is not None:
        found['projected'] = projection(encoder.module, inputs)
    return {name: F.normalize(vectors.float(), dim=1).cpu() for name, vectors in found.items()}


def represent_crops(
    encoder: FrozenEncoder,
    projection: Projector | None,
    crops: Crops,
    *,
    batch_size: int = 128,
    workers: int = 2,
    progress: bool = True,
) -> tuple[dict[str, Tensor], Tensor]:
    """All representations of all patches, name -> (R, D), and their labels (R,).

    Raises:
        UserError: The features are not finite.
    """
    found: dict[str, list[Tensor]] = {}
    labels = []
    for images, targets in crop_batches(crops, batch_size, workers, progress):
        for name, vectors in represent(encoder, projection, images).items():
            check_finite(vectors)
            found.setdefault(name, []).append(vectors)
        labels.append(targets)
    return {name: torch.cat(parts) for name, parts in found.items()}, torch.cat(labels)


def _neck(cfg: Config, seed: int, initialise: bool) -> nn.Module:
    """The neck of a config's online network."""
    model = cfg.get('model') or {}
    neck = (model.get('algorithm') or model).get('neck')
    if not neck:
        raise UserError(f'{cfg.filename or "the config"}: its algorithm has no neck, so no projector')
    # DINO sets the class of its head itself.
    neck = {'type': 'repre_mm.DINONeck', **neck} if 'type' not in neck else dict(neck)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmpretrain'), torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = MODELS.build(neck)
        if initialise and hasattr(layers, 'init_weights'):
            layers.init_weights()
    return layers


def _neck_prefix(encoder: str | None) -> str | None:
    """The place in a training checkpoint of the neck that follows the backbone at a prefix."""
    if encoder is None or encoder.endswith('backbone.'):
        return (encoder or 'backbone.').removesuffix('backbone.') + 'neck.'
    return f'{encoder.removesuffix("0.")}1.' if encoder.endswith('.0.') else None
