"""Pass the epoch to DINO, freeze its last layer at the start, and clip gradients per parameter."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.optim import Optimizer

from repre_mm.models.selfsup.dino import DINO
from repre_mm.registry import HOOKS


@HOOKS.register_module()
class DINOHook(Hook):
    """Pass the epoch to DINO, and freeze the last layer of its projection head at the start.

    A frozen layer has no gradient when the optimizer steps, so neither weight decay nor Adam's averages touch it
    (the authors' ``cancel_gradients_last_layer``). Both follow the Runner's epoch, also in a resumed run.

    Args:
        freeze_last_layer: Epochs during which the last layer is frozen.
    """

    def __init__(self, freeze_last_layer: int = 1) -> None:
        self.freeze_last_layer = freeze_last_layer

    def before_train(self, runner: Runner) -> None:
        """Find DINO in the model, and hook into the optimizer's steps.

        Raises:
            ValueError: There is no DINO in the model.
        """
        self._algorithms = [module for module in runner.model.modules() if isinstance(module, DINO)]
        if not self._algorithms:
            raise ValueError(
                "repre_mm.DINOHook found no repre_mm.DINO in the model: remove dict(type='repre_mm.DINOHook') from "
                'the hooks of the config, or train DINO'
            )
        self._handle = runner.optim_wrapper.optimizer.register_step_pre_hook(self._freeze)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Pass the epoch on; it also sets the teacher's temperature."""
        for algorithm in self._algorithms:
            algorithm.epoch = runner.epoch

    def after_train(self, runner: Runner) -> None:
        """Remove the hook from the optimizer."""
        self._handle.remove()

    def _freeze(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        for algorithm in self._algorithms:
            if algorithm.epoch < self.freeze_last_layer:
                for parameter in algorithm.neck.last_layer.parameters():
                    parameter.grad = None


@HOOKS.register_module()
class ClipGradPerParameterHook(Hook):
    """Scale down each parameter's gradient whose own L2 norm is above ``max_norm``, as DINO's authors do.

    mmengine's ``optim_wrapper.clip_grad`` scales all gradients by the norm of all together.

    Args:
        max_norm: Largest norm of one parameter's gradient.

    Raises:
        ValueError: ``max_norm`` is not positive.
    """

    def __init__(self, max_norm: float = 3.0) -> None:
        if max_norm <= 0:
            raise ValueError(f'max_norm={max_norm} must be positive; to clip nothing, remove the hook')
        self.max_norm = max_norm

    def before_train(self, runner: Runner) -> None:
        """Hook into the optimizer's steps.

        Raises:
            ValueError: The optimizer is fused and trains in fp16: it undoes the loss scaling in its step, after this.
        """
        optimizer = runner.optim_wrapper.optimizer
        if hasattr(runner.optim_wrapper, 'loss_scaler') and getattr(optimizer, '_step_supports_amp_scaling', False):
            raise ValueError(
                'repre_mm.ClipGradPerParameterHook would clip gradients that still carry the fp16 loss scale: set '
                "optim_wrapper.optimizer.fused=False, or optim_wrapper.type='repre_mm.BFloat16OptimWrapper'"
            )
        self._handle = optimizer.register_step_pre_hook(self._clip)

    def after_train(self, runner: Runner) -> None:
        """Remove the hook from the optimizer."""
        self._handle.remove()

    @torch.no_grad()
    def _clip(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        norms = torch.stack(torch._foreach_norm(gradients))
        # All are scaled, most by 1: to choose among them would wait for the device.
        torch._foreach_mul_(gradients, list((self.max_norm / (norms + 1e-6)).clamp(max=1).unbind()))
