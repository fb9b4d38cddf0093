"""Projectors of released weights: the heads of MoCo v3, DINO, iBOT and MoBY, rebuilt from their tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from repre_mm.checkpoint.layouts import State, under
from repre_mm.checkpoint.reading import CheckpointError
from repre_mm.checkpoint.releases import flat_tensors, identify

# method -> CONTAINER.PREFIX. of the projectors of the online and the target encoder, and the activation in them
_HEADS: dict[str, tuple[str, str, type[nn.Module]]] = {
    # facebookresearch/moco-v3, moco/builder.py: Linear, BatchNorm, ReLU, ..., BatchNorm without weights
    'MoCo v3': ('state_dict.base_encoder.head.', 'state_dict.momentum_encoder.head.', nn.ReLU),
    # facebookresearch/dino, vision_transformer.py, and bytedance/ibot, models/head.py: Linear, GELU, ..., Linear
    'DINO': ('student.head.mlp.', 'teacher.head.mlp.', nn.GELU),
    'iBOT': ('student.head.mlp.', 'teacher.head.mlp.', nn.GELU),
    # SwinTransformer/Transformer-SSL, models/moby.py: Identity, Linear, BatchNorm, ReLU, ..., and linear_out
    'MoBY': ('model.projector.linear_hidden.', 'model.projector_k.linear_hidden.', nn.ReLU),
}


def projector(checkpoint: Mapping[str, Any], which: str | None = None) -> nn.Sequential:
    """Rebuild the projector of a release: (B, C) vectors of the encoder -> (B, D), in evaluation mode.

    The prototypes of DINO and iBOT, which follow on the normalised output, are left out.

    Args:
        checkpoint: From :func:`repre_mm.checkpoint.read_checkpoint`.
        which: ``'online'`` or ``'target'``; default: the one whose encoder the authors evaluate.

    Raises:
        CheckpointError: The file is no such release, or holds its encoder alone.
    """
    release = identify(checkpoint)
    if release is None or release.method not in _HEADS:
        whose = f'a file of {release.method}' if release else 'no known release'
        raise CheckpointError(f'it is {whose}, and projectors are read from files of {", ".join(_HEADS)} only')
    online, target, activation = _HEADS[release.method]
    which = which or release.default
    prefix = online if which == 'online' else target
    tensors = flat_tensors(checkpoint)
    state = under(tensors, prefix)
    if not state:
        raise CheckpointError(
            f'it holds no projector of the {which} encoder ({prefix}*): {release.method} also releases whole training '
            'checkpoints, which do'
        )
    last = prefix.replace('linear_hidden', 'linear_out')
    if last != prefix:  # MoBY's last layer has a name of its own
        number = 2 + max(int(name.split('.')[0]) for name in state)  # one place for the activation between them
        state |= {f'{number}.{name}': value for name, value in under(tensors, last).items()}
    return _sequential(state, activation)


def _sequential(state: State, activation: type[nn.Module]) -> nn.Sequential:
    """Layers from tensors named NUMBER.TENSOR; a number without tensors is an activation, or the identity in front."""
    numbers = [int(match[1]) for name in state if (match := re.fullmatch(r'(\d+)\.\w+', name))]
    layers: list[nn.Module] = []
    for number in range(max(numbers) + 1):
        own = under(state, f'{number}.')
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
