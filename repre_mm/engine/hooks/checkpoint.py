"""Saving checkpoints so that the last good one is never lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from repre_mm.checkpoint import CheckpointError
from repre_mm.checkpoint.saving import remove_checkpoint, remove_drafts, write_checkpoint, write_pointer
from repre_mm.registry import HOOKS

#: What a run that was told to stop leaves; the next one replaces it.
STOPPED = 'stopped.pth'


@register_backend('repre_mm.atomic')
class AtomicBackend(LocalBackend):
    """Local files, written whole or not at all."""

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """See :func:`repre_mm.checkpoint.saving.write_checkpoint`."""
        write_checkpoint(obj, Path(filepath))


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, with another order of things.

    - The checkpoint is written and proven readable, then ``last_checkpoint`` names it, then old ones are removed
      (mmengine removes first).
    - When it cannot be written (a full disk, a folder turned read-only) that is logged as an error, the last good
      checkpoint stays, training goes on, and the next interval tries again.
    - With gradient accumulation a checkpoint is taken after an optimizer step: half-summed gradients are in no
      checkpoint. Where an epoch ends in between, its checkpoint is that of the next optimizer step.

    Args:
        backend_args: As in mmengine; the default writes local files atomically.
        kwargs: See ``mmengine.hooks.CheckpointHook``.
    """

    def __init__(self, *args, backend_args: dict | None = None, **kwargs) -> None:
        super().__init__(*args, backend_args=backend_args or {'backend': 'repre_mm.atomic'}, **kwargs)
        self._postponed: int | None = None  # the step whose checkpoint waits for the optimizer

    def before_train(self, runner: Runner) -> None:
        """Clear away what a killed run left half written."""
        super().before_train(runner)
        if is_main_process():
            remove_drafts(Path(self.out_dir))

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Save on schedule, and what was postponed."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self._postponed is not None and runner.optim_wrapper.should_update():
            step, self._postponed = self._postponed, None
            self._save_checkpoint_with_step(runner, step, meta=dict(epoch=runner.epoch, iter=runner.iter + 1))

    def save_stopped(self, runner: Runner) -> bool:
        """Save in the middle of an epoch, in ``after_train_iter``.

        Returns:
            Whether it worked. Only the main process knows; the others get True.
        """
        return self._write(runner, STOPPED, dict(epoch=runner.epoch, iter=runner.iter + 1))

    def _save_checkpoint(self, runner: Runner) -> None:
        if runner.optim_wrapper.should_update():
            super()._save_checkpoint(runner)
        else:
            self._postponed = runner.epoch + 1 if self.by_epoch else runner.iter + 1

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        kept = list(self.keep_ckpt_ids) if self.max_keep_ckpts > 0 else []
        wanted = [*(other for other in kept if other != step), step]
        if self.max_keep_ckpts > 0:
            self._keep(runner, wanted[-self.max_keep_ckpts :])  # the checkpoint itself holds the list
        if not self._write(runner, self.filename_tmpl.format(step), meta):
            if self.max_keep_ckpts > 0:
                self._keep(runner, kept)
        elif self.max_keep_ckpts > 0 and is_main_process():
            for old in wanted[: -self.max_keep_ckpts]:
                remove_checkpoint(Path(self.out_dir) / self.filename_tmpl.format(old))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        try:
            super()._save_best_checkpoint(runner, metrics)
        except (CheckpointError, OSError) as error:
            runner.logger.error(f'could not save the best checkpoint: {error}. Training goes on')

    def _keep(self, runner: Runner, steps: list[int]) -> None:
        self.keep_ckpt_ids.clear()
        self.keep_ckpt_ids.extend(steps)
        runner.message_hub.update_info('keep_ckpt_ids', steps)

    def _write(self, runner: Runner, name: str, meta: dict) -> bool:
        """Checkpoint, then pointer; False, after saying so, where that failed."""
        previous = runner.message_hub.runtime_info.get('last_ckpt')
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        try:
            runner.save_checkpoint(
                self.out_dir,
                name,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                write_pointer(Path(runner.work_dir), Path(self.last_ckpt))
        except (CheckpointError, OSError) as error:
            failed, self.last_ckpt = self.last_ckpt, previous
            runner.message_hub.update_info('last_ckpt', previous)
            runner.logger.error(
                f'could not save {failed}: {error}. The last good checkpoint is {previous or "not there yet"}; '
                'training goes on and will try again after the next interval'
            )
            return False
        return True
