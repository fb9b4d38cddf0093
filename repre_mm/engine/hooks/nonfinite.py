"""No update from gradients that are not numbers."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.optim import Optimizer

from repre_mm.registry import HOOKS


class NonFiniteError(RuntimeError):
    """A training that has broken down; the message says where and what to try."""


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Skip optimizer steps with NaN or infinite gradients; stop after too many in a row.

    The gradients are looked at right before the step, after their reduction over the processes: all decide alike. A
    skipped step leaves weights and the optimizer's state as they are (every gradient is set to None). What the forward
    itself keeps, the statistics of BatchNorm or a queue of embeddings, it has kept by then. Under fp16 the loss
    scaler's own skips count, too. ``skipped_updates`` in the message hub, and so in checkpoints, counts them all.

    Args:
        max_in_row: So many skipped steps in a row end the run.

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

    def before_train(self, runner: Runner) -> None:
        """Look at every optimizer step from now on."""
        self._names = {id(parameter): name for name, parameter in runner.model.named_parameters()}
        self._handle = runner.optim_wrapper.optimizer.register_step_pre_hook(self._check)

    def after_train(self, runner: Runner) -> None:
        """Let go of the optimizer."""
        self._handle.remove()

    @torch.no_grad()
    def _check(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        parameters = [p for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        norms = torch.stack(torch._foreach_norm([p.grad for p in parameters], torch.inf)) if parameters else None
        self._stepped = norms is None or bool(norms.isfinite().all())
        if not self._stepped:
            bad = (~norms.isfinite()).tolist()
            self._culprits = [
                self._names.get(id(p), 'a parameter') for p, is_bad in zip(parameters, bad, strict=True) if is_bad
            ]
            for parameter in parameters:
                parameter.grad = None  # optimizers pass over these

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Count, tell, and end the run where it is beyond help.

        Raises:
            NonFiniteError: ``max_in_row`` steps in a row were skipped.
        """
        if not runner.optim_wrapper.should_update():
            return
        stepped, self._stepped = self._stepped, False
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
                'checkpoint before the trouble began'
            )
        runner.logger.warning(f'{report}. Update skipped ({self._in_row} in a row, {total} in all)')
