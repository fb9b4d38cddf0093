"""Choose between the online and the target network of a file or a model, by default as the method's authors do.

They evaluate the target network (teacher) of DINO and iBOT, and the online network of the others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from torch import nn

from repre_mm.checkpoint import read_checkpoint
from repre_mm.checkpoint.provenance import provenance
from repre_mm.checkpoint.releases import Release, identify
from repre_mm.evaluation.loaders import EvaluationError

_TEACHER_EVALUATED = re.compile(r'\b(DINO|iBOT)')
# Where our checkpoints and OpenMMLab's keep the backbone of the target network, next to the online 'backbone.'.
_TARGET = re.compile(r'(momentum_encoder|target_net|encoder_k|teacher)\.(module\.)?(0\.|backbone\.)')


@dataclass(frozen=True)
class Network:
    """The network of a file that is the encoder.

    Attributes:
        prefix: For :func:`repre_mm.checkpoint.load_pretrained`; None: that function finds it.
        reason: Which one it is and why, for people.
        release: The release that the file is, if it is one.
    """

    prefix: str | None
    reason: str
    release: Release | None = None


def choose_network(
    path: str | os.PathLike,
    *,
    config: Config | None = None,
    prefix: str | None = None,
    network: str | None = None,
    trust: bool = False,
) -> Network:
    """Choose between the networks of a file.

    Args:
        path: The file.
        config: Gives the method if the file does not.
        prefix: Where the encoder is, in a file of unknown layout.
        network: ``'online'`` or ``'target'``; default: the one that the method's authors evaluate.
        trust: See :func:`repre_mm.checkpoint.read_checkpoint`.

    Raises:
        EvaluationError: The file has no such network.
        repre_mm.checkpoint.CheckpointError: The file is unreadable.
    """
    checkpoint = read_checkpoint(path, trust=trust)
    release = identify(checkpoint)
    if prefix is not None:
        if network is not None:
            raise EvaluationError('--prefix and --encoder both say which network to take: leave one out')
        return Network(prefix, f'under the prefix {prefix!r}', release)
    networks = own = _own_networks(checkpoint)
    if own:
        # 'repre_mm.RePreAlgorithm(repre_mm.DINO)' -> 'DINO'
        method = re.findall(r'\w+', provenance(checkpoint).get('method') or _method(config))[-1]
        default = 'target' if _TEACHER_EVALUATED.search(method) and 'target' in networks else 'online'
    elif release is not None:
        method, networks, default = release.method, release.prefixes, release.default
    else:
        if network is not None:
            raise EvaluationError(
                f'--encoder {network}: in {path} online and target networks cannot be told apart: use --prefix '
                '(tools/inspect_checkpoint.py shows the prefixes)'
            )
        return Network(None, 'the one in the file')
    if network is not None and network not in networks:
        raise EvaluationError(f'--encoder {network}: {path} ({method}) holds the {" and ".join(networks)} network only')
    chosen = network or default
    reason = f"as {method}'s authors evaluate" if chosen == default else f"{method}'s authors evaluate the {default}"
    if len(networks) == 1:
        reason = 'the one in the file'
    # Recognition takes the default by itself, and can say more of it.
    found = chosen == ('online' if own else default)
    called = 'target (teacher)' if chosen == 'target' else chosen
    return Network(None if found else networks[chosen], f'{called}, {reason}', release)


def _own_networks(checkpoint: Mapping[str, Any]) -> dict[str, str]:
    """Find the prefixes of ``'online'`` and ``'target'`` in a training checkpoint of this project or OpenMMLab's."""
    tensors = checkpoint.get('state_dict')
    names = tensors if isinstance(tensors, Mapping) else ()
    if not any(name.startswith('backbone.') for name in names):
        return {}
    target = next((found[0] for name in names if (found := _TARGET.match(name))), None)
    return {'online': 'backbone.', **({'target': target} if target else {})}


def _method(config: Config | None) -> str:
    model = (config or {}).get('model') or {}
    return str((model.get('algorithm') or model).get('type', 'method'))


def live_networks(model: nn.Module) -> dict[str, nn.Module]:
    """Give the encoders of a model in training: ``'online'``, and for DINO before it ``'target'``."""
    algorithm = getattr(model, 'algorithm', model)
    target = getattr(algorithm, 'momentum_encoder', None)
    if target is not None and _TEACHER_EVALUATED.search(type(algorithm).__name__):
        return {'target': target.module[0], 'online': algorithm.backbone}
    return {'online': algorithm.backbone}
