"""Projectors of released weights: the heads of MoCo v3, DINO, iBOT and MoBY, rebuilt from their tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from repre_mm.checkpoint.layouts import State
from repre_mm.checkpoint.reading import CheckpointError
from repre_mm.checkpoint.releases import flat_tensors, identify


@dataclass(frozen=True)
class Projector:
    """The projector behind an encoder.

    Attributes:
        method: Whose it is, e.g. ``'DINO'``.
        prefix: Where in the file it is.
        layers: The layers, filled and in evaluation mode: (B, C) vectors of the encoder -> (B, D). The prototypes of
            DINO and iBOT, which follow on the normalised output, are not among them.
    """

    method: str
    prefix: str
    layers: nn.Sequential


# method -> CONTAINER.PREFIX. of the projector of each encoder, and the activation between its layers
_HEADS: dict[str, tuple[dict[str, str], type[nn.Module]]] = {
    # facebookresearch/moco-v3, moco/builder.py: Linear, BatchNorm, ReLU, ..., BatchNorm without weights
    'MoCo v3': (
        {'online': 'state_dict.base_encoder.head.', 'target': 'state_dict.momentum_encoder.head.'},
        nn.ReLU,
    ),
    # facebookresearch/dino, vision_transformer.py, and bytedance/ibot, models/head.py: Linear, GELU, ..., Linear
    'DINO': ({'online': 'student.head.mlp.', 'target': 'teacher.head.mlp.'}, nn.GELU),
    'iBOT': ({'online': 'student.head.mlp.', 'target': 'teacher.head.mlp.'}, nn.GELU),
    # SwinTransformer/Transformer-SSL, models/moby.py: Identity, Linear, BatchNorm, ReLU, ..., and linear_out
    'MoBY': (
        {'online': 'model.projector.linear_hidden.', 'target': 'model.projector_k.linear_hidden.'},
        nn.ReLU,
    ),
}


def projector(checkpoint: Mapping[str, Any], which: str | None = None) -> Projector:
    """Rebuild the projector of a release.

    Args:
        checkpoint: From :func:`repre_mm.checkpoint.read_checkpoint`.
        which: ``'online'`` or ``'target'``; by default that of the encoder that the authors evaluate.

    Raises:
        CheckpointError: The file is no such release, or holds its encoder alone.
    """
    release = identify(checkpoint)
    if release is None or release.method not in _HEADS:
        whose = f'a file of {release.method}' if release else 'no release that is known'
        raise CheckpointError(f'it is {whose}, and projectors are read from files of {", ".join(_HEADS)} only')
    prefixes, activation = _HEADS[release.method]
    which = which or release.default
    prefix = prefixes[which]
    tensors = flat_tensors(checkpoint)
    state = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    if not state:
        raise CheckpointError(
            f'it holds no projector of the {which} encoder ({prefix}*): {release.method} also releases whole training '
            'checkpoints, which do'
        )
    last = prefix.replace('linear_hidden', 'linear_out')
    if last != prefix:  # MoBY's last layer has a name of its own
        number = 1 + max(int(name.split('.')[0]) for name in state)
        activated = number + 1  # one place for the activation between them
        state |= {f'{activated}.{name[len(last) :]}': value for name, value in tensors.items() if name.startswith(last)}
    return Projector(release.method, prefix, _sequential(state, activation))


def _sequential(state: State, activation: type[nn.Module]) -> nn.Sequential:
    """Layers from tensors named NUMBER.TENSOR; a number without tensors is an activation, or the identity in front."""
    numbers = [int(match[1]) for name in state if (match := re.fullmatch(r'(\d+)\.\w+', name))]
    layers: list[nn.Module] = []
    for number in range(max(numbers) + 1):
        own = {name.split('.')[1]: value for name, value in state.items() if name.startswith(f'{number}.')}
        if not own:
            layers.append(activation() if layers else nn.Identity())
            continue
        if 'running_mean' in own:
            layer: nn.Module = nn.BatchNorm1d(len(own['running_mean']), affine='weight' in own)
        else:
            outputs, inputs = own['weight'].shape
            layer = nn.Linear(inputs, outputs, bias='bias' in own)
        layer.load_state_dict(own)
        layers.append(layer)
    return nn.Sequential(*layers).eval().requires_grad_(False)
