"""Save checkpoints in the background, and never lose the last good one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from repre_mm.checkpoint import CheckpointError
from repre_mm.checkpoint.saving import POINTER, WRITER, remove_drafts, wait_until_saved, write_checkpoint
from repre_mm.registry import HOOKS
from repre_mm.utils.atomic import write_text

#: The checkpoint of a run that was told to stop; each stop replaces it.
STOPPED = 'stopped.pth'
_BACKEND = 'repre_mm.background'


class BackgroundBackend(LocalBackend):
    """Local files for mmengine, written whole in the background. Removed ones go when the next one is written.

    Args:
        pointer: The folder whose ``last_checkpoint`` names what is written; None for none.
    """

    saved: ClassVar[bool] = True  # whether the last write succeeded
    _outdated: ClassVar[list[Path]] = []

    def __init__(self, pointer: str | None = None) -> None:
        self._pointer = pointer

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """Write a checkpoint, then the pointer, then remove outdated files; a failure is logged."""
        outdated = self._outdated.copy()
        self._outdated.clear()
        WRITER.submit(self._write, obj, Path(filepath), outdated)

    def remove(self, filepath: str | os.PathLike) -> None:
        """Remove a file after the next write; it stays if that fails."""
        self._outdated.append(Path(filepath))

    def _write(self, data: bytes, path: Path, outdated: list[Path]) -> None:
        BackgroundBackend.saved = False
        try:
            write_checkpoint(data, path)
            if self._pointer is not None:
                write_text(str(path), Path(self._pointer) / POINTER)
            for old in outdated:
                if old != path:
                    old.unlink(missing_ok=True)
            BackgroundBackend.saved = True
        except Exception as error:  # the thread would swallow it
            MMLogger.get_current_instance().error(
                f'could not save {path}: {error}. The last good checkpoint stays; training goes on and will try again '
                'after the next interval'
            )


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """Save checkpoints as mmengine's CheckpointHook does, but in another order and in the background.

    - The checkpoint is written and read back, then ``last_checkpoint`` names it, then old ones are removed; mmengine
      removes them first.
    - Training waits only until its state is copied, not for the disk. The next save, a stop and the end of the
      training wait for the save under way.
    - A failed save (full disk, read-only folder) is logged as an error. The last good checkpoint stays, training
      continues, and the next interval tries again.
    - With gradient accumulation a checkpoint is taken after an optimizer step, never with half-summed gradients. One
      that is due in between follows at the next optimizer step.

    Args:
        kwargs: See ``mmengine.hooks.CheckpointHook``, but for ``backend_args``: files are local.

    Raises:
        CheckpointError: At the end of the training, if its last checkpoint could not be saved.
    """

    def __init__(self, *args, **kwargs) -> None:
        register_backend(_BACKEND, BackgroundBackend, force=True)
        super().__init__(*args, backend_args={'backend': _BACKEND}, **kwargs)
        if self.args:
            raise TypeError(f'repre_mm.SafeCheckpointHook has no argument {", ".join(self.args)}')
        self._postponed: int | None = None  # the step whose checkpoint waits for the optimizer

    def before_train(self, runner: Runner) -> None:
        """Remove what a killed run left half written."""
        super().before_train(runner)
        wait_until_saved()  # an earlier training of this process
        BackgroundBackend.saved = True
        remove_drafts(Path(self.out_dir))

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Save on schedule, and what was postponed."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self._postponed is not None and runner.optim_wrapper.should_update():
            step, self._postponed = self._postponed, None
            self._save_checkpoint_with_step(runner, step, meta=dict(epoch=runner.epoch, iter=runner.iter + 1))

    def after_train(self, runner: Runner) -> None:
        """Wait for the last checkpoint.

        Raises:
            CheckpointError: It could not be saved.
        """
        wait_until_saved()
        if not BackgroundBackend.saved:
            raise CheckpointError(
                f'the training is done, but its last checkpoint could not be saved to {self.out_dir} (see the error '
                'above): make room or the folder writable, and repeat what is missing with --resume'
            )
        super().after_train(runner)

    def save_stopped(self, runner: Runner) -> bool:
        """Save within an epoch, from ``after_train_iter``, and wait until it is done.

        Returns:
            Whether it was saved; True on all processes but the main one.
        """
        self._save(runner, STOPPED, dict(epoch=runner.epoch, iter=runner.iter + 1))
        wait_until_saved()
        return BackgroundBackend.saved

    def _save_checkpoint(self, runner: Runner) -> None:
        if runner.optim_wrapper.should_update():
            super()._save_checkpoint(runner)
        else:
            self._postponed = runner.epoch + 1 if self.by_epoch else runner.iter + 1

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        name = self.filename_tmpl.format
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                self.file_backend.remove(self.file_backend.join_path(self.out_dir, name(self.keep_ckpt_ids[0])))
            self.keep_ckpt_ids.append(step)  # which drops the first
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        self._save(runner, name(step), meta)

    def _save(self, runner: Runner, name: str, meta: dict) -> None:
        wait_until_saved()  # one copy of the state at a time
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            backend_args={'backend': _BACKEND, 'pointer': runner.work_dir},
        )
