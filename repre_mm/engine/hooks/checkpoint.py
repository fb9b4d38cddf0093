"""Save checkpoints in the background, and never lose the last good one."""

from __future__ import annotations

import copy
import io
import os
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from repre_mm.checkpoint import CheckpointError
from repre_mm.checkpoint.saving import remove_checkpoint, remove_drafts, write_checkpoint, write_pointer
from repre_mm.engine.resilience.background import run_in_background, wait_for_background
from repre_mm.engine.resilience.training_state import training_state
from repre_mm.registry import HOOKS

#: The checkpoint of a run that was told to stop; each stop replaces it.
STOPPED = 'stopped.pth'


class AtomicBackend(LocalBackend):
    """Local files, written whole or not at all."""

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """Write a checkpoint and its checksum."""
        write_checkpoint(obj, Path(filepath))

    def remove(self, filepath: str | os.PathLike) -> None:
        """Remove a checkpoint and its checksum."""
        remove_checkpoint(Path(filepath))


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
        backend_args: As in mmengine; the default writes local files atomically.
        background: False waits for the disk, and needs no second copy of the state in memory.
        kwargs: See ``mmengine.hooks.CheckpointHook``.

    Raises:
        CheckpointError: At the end of the training, if its last checkpoint could not be saved.
    """

    def __init__(self, *args, backend_args: dict | None = None, background: bool = True, **kwargs) -> None:
        register_backend('repre_mm.atomic', AtomicBackend, force=True)
        super().__init__(*args, backend_args=backend_args or {'backend': 'repre_mm.atomic'}, **kwargs)
        if self.args:
            raise TypeError(f'repre_mm.SafeCheckpointHook has no argument {", ".join(self.args)}')
        self.background = background
        self._postponed: int | None = None  # the step whose checkpoint waits for the optimizer
        self._under_way: Future | None = None  # whether the checkpoint was saved
        self._before: tuple[str | None, list[int]] = (None, [])  # last checkpoint and kept steps, if that fails
        self._failed = False

    def before_train(self, runner: Runner) -> None:
        """Remove what a killed run left half written."""
        super().before_train(runner)
        if is_main_process():
            wait_for_background()  # an earlier training of this process
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
        self._settle(runner)
        if self._failed:
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
        self._write(runner, STOPPED, dict(epoch=runner.epoch, iter=runner.iter + 1))
        self._settle(runner)
        return not self._failed

    def _save_checkpoint(self, runner: Runner) -> None:
        if runner.optim_wrapper.should_update():
            super()._save_checkpoint(runner)
        else:
            self._postponed = runner.epoch + 1 if self.by_epoch else runner.iter + 1

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        self._settle(runner)
        steps = [*(other for other in self._kept() if other != step), step]
        count = self.max_keep_ckpts if self.max_keep_ckpts > 0 else len(steps)
        self._write(runner, self.filename_tmpl.format(step), meta, steps[-count:], steps[:-count])

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        self._settle(runner)
        info = runner.message_hub.runtime_info
        best = {key: value for key, value in info.items() if key.startswith('best_')}
        paths = {name: copy.copy(value) for name, value in vars(self).items() if name.startswith('best_ckpt_path')}
        backend, self.file_backend = self.file_backend, _RemoveLater(self.file_backend)
        try:
            super()._save_best_checkpoint(runner, metrics)
            self.file_backend.remove_now()
        except (CheckpointError, OSError) as error:
            for key in [key for key in info if key.startswith('best_')]:
                del info[key]
            info.update(best)
            vars(self).update(paths)
            runner.logger.error(f'could not save the best checkpoint: {error}. Training goes on')
        finally:
            self.file_backend = backend

    def _kept(self) -> list[int]:
        return list(getattr(self, 'keep_ckpt_ids', ()))  # mmengine sets it only if it keeps a limited number

    def _set_last(self, runner: Runner, path: str | None, kept: list[int]) -> None:
        self.last_ckpt = path
        runner.message_hub.update_info('last_ckpt', path)
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids.clear()
            self.keep_ckpt_ids.extend(kept)
            runner.message_hub.update_info('keep_ckpt_ids', kept)

    def _write(
        self, runner: Runner, name: str, meta: dict, kept: list[int] | None = None, outdated: list[int] | None = None
    ) -> None:
        """Copy the state; in the background write it, then the pointer, then remove the outdated checkpoints."""
        previous = runner.message_hub.runtime_info.get('last_ckpt')
        self._before = previous, self._kept()
        path = self.file_backend.join_path(self.out_dir, name)
        self._set_last(runner, path, self._kept() if kept is None else kept)  # before the state: it holds both
        state = training_state(runner, meta, self.save_optimizer, self.save_param_scheduler)
        if state is None:
            return
        old = [self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step)) for step in outdated or ()]
        save = partial(_save, self.file_backend, path, Path(runner.work_dir), old, previous, runner)
        self._under_way = run_in_background(partial(save, copy.deepcopy(state) if self.background else state))
        if not self.background:
            self._settle(runner)

    def _settle(self, runner: Runner) -> None:
        """Wait for the save under way; if it failed, the previous checkpoint is the last one again."""
        if self._under_way is None:
            return
        future, self._under_way = self._under_way, None
        self._failed = not future.result()
        if self._failed:
            self._set_last(runner, *self._before)


def _save(
    backend: Any, path: str, work_dir: Path, outdated: list[str], previous: str | None, runner: Runner, state: dict
) -> bool:
    """Write the checkpoint and the pointer, remove old ones; False, after an error in the log, if writing failed."""
    try:
        with io.BytesIO() as file:
            torch.save(state, file)
            backend.put(file.getvalue(), path)
        write_pointer(work_dir, Path(path))
    except (CheckpointError, OSError) as error:
        runner.logger.error(
            f'could not save {path}: {error}. The last good checkpoint is {previous or "not there yet"}; '
            'training goes on and will try again after the next interval'
        )
        return False
    for old in outdated:
        try:
            backend.remove(old)
        except OSError as error:
            runner.logger.warning(f'could not remove the old checkpoint {old}: {error}')
    return True


class _RemoveLater:
    """A file backend that postpones removals: mmengine removes the old best checkpoint before it writes the new one."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._outdated: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._outdated.append(path)

    def remove_now(self) -> None:
        for path in self._outdated:
            self._backend.remove(path)
