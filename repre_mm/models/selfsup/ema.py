"""Moving-average target network of MoCo v2 and v3, BYOL, MoBY and DINO."""

from __future__ import annotations

import copy
import logging
import math

import torch
from mmcv.cnn.bricks.drop import DropPath
from mmengine.logging import print_log
from timm.layers import DropPath as TimmDropPath
from torch import Tensor, nn
from torch.optim import Optimizer

from repre_mm.models.guard import before_first_update

_NO_HOOK = (
    'nothing updates the target network, so it would never change: '
    "add dict(type='repre_mm.MomentumUpdateHook') to custom_hooks"
)


class CosineEMA(nn.Module):
    r"""A target network that follows an online one: ``target = (1 - m) * target + m * online``.

    The weight ``m`` of the new value goes from ``momentum`` to ``end_momentum`` along a cosine over ``max_steps``
    updates and then stays. It is one minus the papers' momentum: 0.004 stands for 0.996.

    .. math:: m_k = m_{end} + (m_0 - m_{end}) \, (1 + \cos(\pi k / K)) / 2, \quad k \le K

    **When.** The authors of BYOL, MoCo, MoCo v3 and MoBY update the target in the forward of step k, from the weights
    that step k - 1 left, with :math:`m_k`. Here the forward only notes the online network, and
    :class:`~repre_mm.engine.MomentumUpdateHook` updates right after step k - 1, also with :math:`m_k`. So every forward
    sees the authors' target, a checkpoint holds the updated one, and with gradient accumulation the target moves once
    per optimizer step.

    **Start.** mmpretrain initialises the online network after the target was copied from it, so the first forward
    (``steps`` = 0) copies parameters and buffers again.

    **Buffers.** Only parameters are averaged, as in the authors' code: in train mode the target's BatchNorm normalises
    with, and keeps statistics of, its own batches.

    Args:
        module: The online network at construction; it is deep-copied and the copy frozen.
        momentum: :math:`m_0`, in [0, 1].
        end_momentum: :math:`m_{end}`, in [0, 1]. Equal to ``momentum``, the momentum is constant.
        steps: () int64, the counter of an existing target network, which ``module`` then is; both are kept, not copied.

    Attributes:
        module: The target network.
        max_steps: K, in optimizer steps. Set by the hook; a training loop without hooks sets it, and calls
            :meth:`step` after each optimizer step.

    Raises:
        ValueError: A momentum outside [0, 1].
    """

    steps: Tensor  # () int64: updates done

    def __init__(
        self, module: nn.Module, momentum: float, end_momentum: float = 0.0, steps: Tensor | None = None
    ) -> None:
        super().__init__()
        for name, value in (('momentum', momentum), ('end_momentum', end_momentum)):
            if not 0 <= value <= 1:
                raise ValueError(f'{name}={value} must lie in [0, 1]')
        if momentum > 0.5:
            print_log(
                f'momentum={momentum} is the weight of the new value: what papers call a momentum of '
                f'{momentum} is written {1 - momentum:.4g} here',
                'current',
                logging.WARNING,
            )
        if steps is None:
            module, steps = copy.deepcopy(module), torch.tensor(0)
        self.module = module.requires_grad_(False)
        self.register_buffer('steps', steps)
        self.momentum = momentum
        self.end_momentum = end_momentum
        self.max_steps: int | None = None
        # The online network since the last forward. In a list, so that it is no child of the target. Its parameters are
        # looked up when the optimizer is done: within a forward, FSDP shows gathered copies of them.
        self._noted: list[nn.Module] | None = None
        # `steps` as a number: reading it from a GPU in every step would wait for the device.
        self._count: int | None = None
        self._guarded = False

    def forward(self, *args, **kwargs):
        """Run the target network."""
        return self.module(*args, **kwargs)

    def momentum_at(self, step: int) -> float:
        """Return the weight of the new value in update ``step`` (from 0)."""
        if self.max_steps is None:
            raise RuntimeError(_NO_HOOK)
        progress = min(step / self.max_steps, 1.0)
        return self.end_momentum + (self.momentum - self.end_momentum) * (1 + math.cos(math.pi * progress)) / 2

    @torch.no_grad()
    def update_parameters(self, source: nn.Module) -> None:
        """Note the online network, with the structure of ``module``, in the forward, for the update in :meth:`step`.

        Raises:
            ValueError: The parameters' names differ from the target's.
        """
        online, target = dict(source.named_parameters()), dict(self.module.named_parameters())
        if online.keys() != target.keys():
            raise ValueError(
                'the online network and its moving average differ in their parameters: '
                f'{", ".join(sorted(online.keys() ^ target.keys())[:4])}'
            )
        self._noted = [source]
        if not self._guarded:
            self._guarded = True
            before_first_update(self, _refuse_no_hook)
        if self._read_count() == 0:
            for name, ours in target.items():
                ours.copy_(online[name])
            for ours, theirs in zip(self.module.buffers(), source.buffers(), strict=True):
                ours.copy_(theirs)

    @torch.no_grad()
    def step(self) -> None:
        """Move the target towards the noted online network; call it after each optimizer step."""
        if self._noted is None:
            raise RuntimeError(
                'no online network to update the target network from: there was no forward since the last update'
            )
        count = self._read_count() + 1
        online, target = dict(self._noted[0].named_parameters()), dict(self.module.named_parameters())
        torch._foreach_lerp_(list(target.values()), [online[name] for name in target], self.momentum_at(count))
        self._noted = None
        self._count = count
        self.steps.fill_(count)

    def reset(self) -> None:
        """Start over: the next forward copies the online network."""
        self.steps.zero_()
        self._count, self._noted = 0, None

    def _read_count(self) -> int:
        if self._count is None:
            self._count = int(self.steps)
        return self._count

    def _load_from_state_dict(self, *args) -> None:
        super()._load_from_state_dict(*args)
        self._count = None


def _refuse_no_hook(target: CosineEMA, optimizer: Optimizer) -> bool:
    online = {id(parameter) for network in target._noted or () for parameter in network.parameters()}
    if not any(id(parameter) in online for group in optimizer.param_groups for parameter in group['params']):
        return False
    if target.max_steps is None:
        raise RuntimeError(_NO_HOOK)
    return True


def disable_drop_path(module: nn.Module) -> None:
    """Switch off drop-path in a target network, which stays in train mode for its BatchNorm.

    As in MoBY (Transformer-SSL: ``TARGET_DROP_PATH_RATE: 0.0``) and DINO.
    """
    for child in module.modules():
        if isinstance(child, (DropPath, TimmDropPath)):
            child.drop_prob = 0.0
