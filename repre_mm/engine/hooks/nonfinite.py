"""Skip updates with NaN or infinite gradients."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from repre_mm.registry import HOOKS
from repre_mm.utils.errors import UserError


class NonFiniteError(UserError, RuntimeError):
    """The training has diverged; the message says where, and what to try."""


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Skip optimizer steps with NaN or infinite gradients; stop after too many in a row.

    Gradients are checked right before the step, after their reduction over the processes, so all decide alike. A
    skipped step changes neither weights nor the optimizer's state, and the buffers that the forward updates (BatchNorm
    statistics, queues, centres) are restored; only the target network follows as in any step. The same goes for steps
    that the fp16 loss scaler skips. ``skipped_updates`` in the message hub, and so in checkpoints, is their total.

    ``grad_norm``, the L2 norm of all gradients together, is logged unless mmengine's clipping logs it.

    Args:
        max_in_row: Skipped steps in a row that end the run.

    Raises:
        ValueError: ``max_in_row`` is less than 1.
    """

    priority = 'HIGHEST'  # before the target network moves, which has a buffer, and before anything that logs or saves

    def __init__(self, max_in_row: int = 20) -> None:
        if max_in_row < 1:
            raise ValueError(f'max_in_row={max_in_row} must be at least 1')
        self.max_in_row = max_in_row
        self._in_row = 0
        self._stepped = False  # in this iteration, with finite gradients
        self._culprits: list[str] = []
        self._accumulating = False

    def before_train(self, runner: Runner) -> None:
        """Check the gradients of every optimizer step from now on."""
        self._runner = runner
        self._names = {id(parameter): name for name, parameter in runner.model.named_parameters()}
        self._handle = runner.optim_wrapper.optimizer.register_step_pre_hook(self._check)
        self._buffers = [(buffer, buffer.clone()) for buffer in runner.model.buffers()]  # now, before this step

    def after_train(self, runner: Runner) -> None:
        """Remove the hook from the optimizer."""
        self._handle.remove()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Copy the buffers as they are before an optimizer step."""
        if not self._accumulating:
            for buffer, before in self._buffers:
                before.copy_(buffer)
        self._accumulating = True

    @torch.no_grad()
    def _check(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        parameters = [p for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        norms = torch.stack(torch._foreach_norm([p.grad for p in parameters])) if parameters else torch.zeros(1)
        norms = norms.full_tensor() if isinstance(norms, DTensor) else norms
        total = norms.norm().item()
        self._stepped = math.isfinite(total)
        if self._stepped:
            # mmengine logs it itself when it clips; and a fused optimizer under fp16 takes the loss scale out later.
            scaled = hasattr(self._runner.optim_wrapper, 'loss_scaler') and optimizer.defaults.get('fused')
            if not self._runner.optim_wrapper.clip_grad_kwargs and not scaled:
                self._runner.message_hub.update_scalar('train/grad_norm', total)
            return
        bad = zip(parameters, (~norms.isfinite()).tolist(), strict=True)
        self._culprits = [self._names.get(id(p), 'a parameter') for p, is_bad in bad if is_bad] or ['all together']
        for parameter in parameters:
            parameter.grad = None  # which optimizers skip

    @torch.no_grad()
    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Restore the buffers after a skipped step, count and report it; end the run after too many.

        Raises:
            NonFiniteError: ``max_in_row`` steps in a row were skipped.
        """
        if not runner.optim_wrapper.should_update():
            return
        stepped, culprits = self._stepped, self._culprits
        self._stepped, self._culprits, self._accumulating = False, [], False
        if stepped:
            self._in_row = 0
            return
        for buffer, before in self._buffers:
            buffer.copy_(before)
        self._in_row += 1
        total = runner.message_hub.runtime_info.get('skipped_updates', 0) + 1
        runner.message_hub.update_info('skipped_updates', total)
        losses = ', '.join(f'{k}={torch.as_tensor(v).mean().item():.4g}' for k, v in (outputs or {}).items())
        report = (
            f'iteration {runner.iter + 1}: gradients are not finite in {len(culprits) or "some"} of '
            f'{len(self._names)} parameters ({", ".join(culprits[:3]) or "fp16 loss scaling"}); {losses}; learning '
            f'rate {max(group["lr"] for group in runner.optim_wrapper.param_groups):.3g}'
        )
        if self._in_row >= self.max_in_row:
            raise NonFiniteError(
                f'{report}. {self._in_row} updates in a row had to be skipped ({total} in all): the training has '
                'diverged. Lower the learning rate or lengthen its warm-up, clip gradients (optim_wrapper.clip_grad), '
                'use bf16 or fp32 instead of fp16, then go on with --resume from a checkpoint before that'
            )
        runner.logger.warning(f'{report}. Update skipped ({self._in_row} in a row, {total} in all)')
