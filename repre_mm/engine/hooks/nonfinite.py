"""Skip updates with NaN or infinite gradients."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from repre_mm.registry import HOOKS
from repre_mm.utils.errors import UserError


class NonFiniteError(UserError, RuntimeError):
    """The training has broken down; the message says where, and what to try."""


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Skip optimizer steps with NaN or infinite gradients; stop after too many in a row.

    The gradients are looked at right before the step, after their reduction over the processes: all decide alike. A
    skipped step leaves no trace: weights and the optimizer's state stay (every gradient is set to None), and what the
    forward itself keeps, the statistics of BatchNorm, queues and centres, is set back to what it was. Only the target
    network follows the online one as in any other step. Under fp16 the loss scaler's own skips count, too.
    ``skipped_updates`` in the message hub, and so in checkpoints, counts them all.

    Where nothing else logs it, ``grad_norm`` is logged: the L2 norm of all gradients together.

    Args:
        max_in_row: How many skipped steps in a row end the run.

    Raises:
        ValueError: ``max_in_row`` is less than 1.
    """

    priority = 'HIGH'  # before anything that logs or saves

    def __init__(self, max_in_row: int = 20) -> None:
        if max_in_row < 1:
            raise ValueError(f'max_in_row={max_in_row} must be at least 1')
        self.max_in_row = max_in_row
        self._in_row = 0
        self._stepped = False  # the optimizer has stepped in this iteration, with finite gradients
        self._culprits: list[str] = []
        self._under_way = False  # some batches of an optimizer step are done: gradients accumulate
        self._before: list[Tensor] = []  # the buffers as they were before that step

    def before_train(self, runner: Runner) -> None:
        """Check the gradients of every optimizer step from now on."""
        self._runner = runner
        self._names = {id(parameter): name for name, parameter in runner.model.named_parameters()}
        self._handle = runner.optim_wrapper.optimizer.register_step_pre_hook(self._check)
        self._buffers = list(runner.model.buffers())
        self._before = [buffer.clone() for buffer in self._buffers]

    def after_train(self, runner: Runner) -> None:
        """Remove the hook from the optimizer."""
        self._handle.remove()

    @torch.no_grad()
    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Copy the buffers as they are before an optimizer step."""
        if not self._under_way:
            for before, buffer in zip(self._before, self._buffers, strict=True):
                before.copy_(buffer)
        self._under_way = True

    @torch.no_grad()
    def _check(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        parameters = [p for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        norms = torch.stack(torch._foreach_norm([p.grad for p in parameters])) if parameters else torch.zeros(1)
        norms = norms.full_tensor() if isinstance(norms, DTensor) else norms
        total = norms.norm().item()
        self._stepped = math.isfinite(total)
        if self._stepped:
            # mmengine logs it itself where it clips; and a fused optimizer under fp16 takes the loss scale out later.
            scaled = hasattr(self._runner.optim_wrapper, 'loss_scaler') and optimizer.defaults.get('fused')
            if not self._runner.optim_wrapper.clip_grad_kwargs and not scaled:
                self._runner.message_hub.update_scalar('train/grad_norm', total)
            return
        bad = (~norms.isfinite()).tolist()
        self._culprits = [
            self._names.get(id(p), 'a parameter') for p, is_bad in zip(parameters, bad, strict=True) if is_bad
        ] or ['all together']
        for parameter in parameters:
            parameter.grad = None  # optimizers pass over these
        self._set_back()

    def _set_back(self) -> None:
        """Restore the buffers from before this step."""
        for before, buffer in zip(self._before, self._buffers, strict=True):
            buffer.copy_(before)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Count and report skipped steps; end the run after too many.

        Raises:
            NonFiniteError: ``max_in_row`` steps in a row were skipped.
        """
        if not runner.optim_wrapper.should_update():
            return
        stepped, self._stepped = self._stepped, False
        if not stepped and not self._culprits and not _finite(outputs):  # the loss scaler skipped the step
            self._set_back()
        self._under_way = False
        culprits, self._culprits = self._culprits, []
        if stepped:
            self._in_row = 0
            return
        self._in_row += 1
        total = runner.message_hub.runtime_info.get('skipped_updates', 0) + 1
        runner.message_hub.update_info('skipped_updates', total)
        where = f'{", ".join(culprits[:3])}{", ..." if len(culprits) > 3 else ""}' if culprits else 'fp16 loss scaling'
        losses = ', '.join(f'{name}={torch.as_tensor(value).item():.4g}' for name, value in (outputs or {}).items())
        report = (
            f'iteration {runner.iter + 1}: gradients are not finite in {len(culprits) or "some"} of '
            f'{len(self._names)} parameters ({where}); {losses}; learning rate '
            f'{max(group["lr"] for group in runner.optim_wrapper.param_groups):.3g}'
        )
        if self._in_row >= self.max_in_row:
            raise NonFiniteError(
                f'{report}. {self._in_row} updates in a row had to be skipped ({total} in all), so the training has '
                'broken down. Lower the learning rate or lengthen its warm-up, clip gradients '
                '(optim_wrapper.clip_grad), use bf16 or fp32 instead of fp16, then go on with --resume from a '
                'checkpoint before that'
            )
        runner.logger.warning(f'{report}. Update skipped ({self._in_row} in a row, {total} in all)')


def _finite(outputs: dict | None) -> bool:
    return all(bool(torch.as_tensor(value).isfinite().all()) for value in (outputs or {}).values())
