"""Skip updates with NaN or infinite gradients, and keep their batches for replay."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_rank, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from repre_mm.engine.resilience.replay import random_states
from repre_mm.engine.resilience.training_state import whole_state_dicts
from repre_mm.registry import HOOKS
from repre_mm.utils.errors import UserError
from repre_mm.utils.modules import unwrap

#: Folder in the work dir that keeps what skipped steps were made of.
FOLDER = 'nonfinite'


class NonFiniteError(UserError, RuntimeError):
    """The training has broken down; the message says where, and what to try."""


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Skip optimizer steps with NaN or infinite gradients, and keep them for replay; stop after too many in a row.

    The gradients are looked at right before the step, after their reduction over the processes: all decide alike. A
    skipped step leaves no trace: weights and the optimizer's state stay (every gradient is set to None), and what the
    forward itself keeps, the statistics of BatchNorm, queues and centres, is set back to what it was. Only the target
    network follows the online one as in any other step. Under fp16 the loss scaler's own skips count, too.
    ``skipped_updates`` in the message hub, and so in checkpoints, counts them all.

    Of the first step of each such row, ``nonfinite/iter_N/`` in the work dir keeps ``rank_R.pth`` (the batch and the
    random states of each process) and ``model.pth`` (the model as it was); ``tools/replay_batch.py`` runs it again.

    Where nothing else logs it, ``grad_norm`` is logged: the L2 norm of all gradients together.

    Args:
        max_in_row: How many skipped steps in a row end the run.
        keep: How many rows of skipped steps are kept, the latest; 0 for none.

    Raises:
        ValueError: ``max_in_row`` is less than 1.
    """

    priority = 'HIGH'  # before anything that logs or saves

    def __init__(self, max_in_row: int = 20, keep: int = 3) -> None:
        if max_in_row < 1:
            raise ValueError(f'max_in_row={max_in_row} must be at least 1')
        self.max_in_row = max_in_row
        self.keep = keep
        self._in_row = 0
        self._stepped = False  # the optimizer has stepped in this iteration, with finite gradients
        self._culprits: list[str] = []
        self._batches: list[dict] = []  # of the optimizer step under way, with the random states that it met
        self._before: list[Tensor] = []  # the buffers as they were before that step
        self._kept: Path | None = None

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
        """Keep what a replay of the step needs."""
        if not self._batches:
            for before, buffer in zip(self._before, self._buffers, strict=True):
                before.copy_(buffer)
        self._batches.append({'iteration': runner.iter, 'random': random_states(), 'batch': data_batch})

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
        """Restore the buffers from before this step; keep the step for replay if it is the first of its row."""
        for before, buffer in zip(self._before, self._buffers, strict=True):
            buffer.copy_(before)
        if self._in_row == 0 and self.keep:
            try:
                self._kept = self._keep(self._runner)
            except (OSError, RuntimeError) as error:  # torch.save makes the second of a full disk
                self._runner.logger.warning(f'could not keep the step for replay: {error}')

    def _keep(self, runner: Runner) -> Path:
        """Write the step's batches, random states and model; forget the oldest."""
        with whole_state_dicts(runner):  # all processes together, before one of them may fail to write
            model = unwrap(runner.model)
            state = model.state_dict() if is_main_process() else None
        root = Path(runner.work_dir) / FOLDER
        folder = root / f'iter_{runner.iter + 1}'
        folder.mkdir(parents=True, exist_ok=True)
        steps = [dict(step, batch=_portable(step['batch'])) for step in self._batches]
        step = {'steps': steps, 'epoch': runner.epoch, 'rank': get_rank(), 'processes': get_world_size()}
        torch.save(step, folder / f'rank_{get_rank()}.pth')
        if state is not None:
            torch.save({'state_dict': state, 'meta': {'iter': runner.iter}}, folder / 'model.pth')
            older = sorted(root.glob('iter_*'), key=lambda path: int(path.name.removeprefix('iter_')))
            for old in older[: -self.keep]:
                shutil.rmtree(old)
        return folder

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
        self._batches.clear()
        kept, self._kept = self._kept, None
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
        replay = f'. To look into it: python tools/replay_batch.py {kept}/rank_0.pth CONFIG {kept}/model.pth'
        runner.logger.warning(
            f'{report}. Update skipped ({self._in_row} in a row, {total} in all){replay if kept else ""}'
        )


def _finite(outputs: dict | None) -> bool:
    return all(bool(torch.as_tensor(value).isfinite().all()) for value in (outputs or {}).values())


def _portable(batch: Any) -> dict[str, Any]:
    """The tensors of a batch and where its images are: no objects, so that reading the file runs no code."""
    batch = batch if isinstance(batch, dict) else {}
    samples = batch.get('data_samples') or []
    return {'inputs': batch.get('inputs'), 'images': [str(getattr(each, 'img_path', '?')) for each in samples]}
