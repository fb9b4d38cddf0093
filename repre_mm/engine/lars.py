"""LARS without a wait for the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from repre_mm.registry import OPTIMIZERS

_LARGE = 2**15


class _Settings(NamedTuple):
    """What parameters must share to be updated together."""

    lr: float
    momentum: float
    dampening: float
    weight_decay: float
    nesterov: bool
    eta: float
    adapt: bool
    started: bool
    device: torch.device
    dtype: torch.dtype
    turn: int  # on a CPU large parameters go one by one, each while it is in the cache: twice as fast there


@OPTIMIZERS.register_module()
class LARS(Optimizer):
    """SGD whose rate each parameter's norm adapts (You et al., arXiv 1708.03888, Algorithm 1).

    With a parameter w and its gradient g::

        rate   = lr * eta * |w| / (|g| + weight_decay * |w| + eps)      (lr where |w| or |g| is 0, or excluded)
        buffer = momentum * buffer + (1 - dampening) * rate * (g + weight_decay * w)
        w      = w - buffer

    It computes what mmpretrain's ``LARS`` does, and reads and writes its checkpoints. That one copies two norms per
    parameter to the host and so waits for the device each time; here the norms stay where they are, and parameters
    of equal settings are updated together whatever groups they are in.

    A group with ``lars_exclude=True`` (by ``paramwise_cfg.custom_keys``, as for mmpretrain's) is not adapted and keeps
    the weight decay that it has.

    Args:
        params: Parameters or groups.
        lr: Learning rate before the adaptation, not negative.
        momentum: Of the update, 0 to 1.
        weight_decay: L2 penalty, not negative.
        dampening: Share of the update that the buffer does not take, 0 to 1.
        eta: Trust coefficient: the length of an update as a share of the weight's, at ``lr=1``.
        nesterov: Look ahead; needs momentum and no dampening.
        eps: Added to the divisor.
        exclude_vectors: Neither adapt nor decay parameters of at most one dimension: biases, norms, log-variances, as
            SimCLR, BYOL and MoCo v3 do.

    Raises:
        ValueError: A number is out of its range.
        RuntimeError: In a step: a gradient is sparse.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        dampening: float = 0.0,
        eta: float = 0.001,
        nesterov: bool = False,
        eps: float = 1e-8,
        exclude_vectors: bool = False,
    ) -> None:
        for name, value in (('lr', lr), ('weight_decay', weight_decay), ('eta', eta), ('eps', eps)):
            if value < 0:
                raise ValueError(f'LARS: {name} must not be negative, got {value}')
        for name, value in (('momentum', momentum), ('dampening', dampening)):
            if not 0 <= value <= 1:
                raise ValueError(f'LARS: {name} must lie in [0, 1], got {value}')
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError(f'LARS: nesterov needs momentum > 0 and dampening = 0, got {momentum} and {dampening}')
        # As in mmpretrain's these two are not in the groups, which a checkpoint holds.
        self.eps, self.exclude_vectors = eps, exclude_vectors
        defaults = dict(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay)
        super().__init__(params, {**defaults, 'nesterov': nesterov, 'eta': eta})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Update every parameter that has a gradient.

        Args:
            closure: Computes the loss and the gradients anew.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for settings, params in self._alike().items():
            self._update(settings, params)
        return loss

    def _alike(self) -> dict[_Settings, list[nn.Parameter]]:
        """The parameters that have gradients, by their settings."""
        alike: dict[_Settings, list[nn.Parameter]] = {}
        turns = count(1)
        for group in self.param_groups:
            for p in group['params']:
                if p.grad is None:
                    continue
                if p.grad.is_sparse:
                    raise RuntimeError(f'LARS: a parameter of shape {tuple(p.shape)} has a sparse gradient')
                excluded = self.exclude_vectors and p.ndim < 2
                settings = _Settings(
                    lr=group['lr'],
                    momentum=group['momentum'],
                    dampening=group['dampening'],
                    weight_decay=0.0 if excluded else group['weight_decay'],
                    nesterov=group['nesterov'],
                    eta=group['eta'],
                    adapt=not (excluded or group.get('lars_exclude', False)),
                    started='momentum_buffer' in self.state[p],
                    device=p.device,
                    dtype=p.dtype,
                    turn=next(turns) if p.device.type == 'cpu' and p.numel() > _LARGE else 0,
                )
                alike.setdefault(settings, []).append(p)
        return alike

    def _update(self, settings: _Settings, params: list[nn.Parameter]) -> None:
        grads = [p.grad for p in params]
        updates = torch._foreach_add(grads, params, alpha=settings.weight_decay)
        torch._foreach_mul_(updates, self._rates(settings, params, grads) if settings.adapt else settings.lr)
        if settings.momentum:
            states = [self.state[p] for p in params]
            if settings.started:
                buffers = [state['momentum_buffer'] for state in states]
                torch._foreach_mul_(buffers, settings.momentum)
                torch._foreach_add_(buffers, updates, alpha=1 - settings.dampening)
            else:
                buffers = updates
                for state, update in zip(states, updates, strict=True):
                    state['momentum_buffer'] = update
            updates = torch._foreach_add(updates, buffers, alpha=settings.momentum) if settings.nesterov else buffers
        torch._foreach_sub_(params, updates)

    def _rates(self, settings: _Settings, params: list[nn.Parameter], grads: list[Tensor]) -> list[Tensor]:
        """One number on the device for each parameter."""
        weight_norms, grad_norms = (torch.stack(torch._foreach_norm(tensors)) for tensors in (params, grads))
        trust = settings.eta * weight_norms / (grad_norms + settings.weight_decay * weight_norms + self.eps)
        trust = torch.where((weight_norms != 0) & (grad_norms != 0), trust, 1.0)
        return list((trust * settings.lr).unbind())
