"""Saving checkpoints so that the last good one is never lost, and the training does not wait for the disk."""

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
from repre_mm.engine.resilience.background import run_in_background, wait_for_background
from repre_mm.engine.resilience.saving import remove_checkpoint, remove_drafts, write_checkpoint, write_pointer
from repre_mm.engine.resilience.training_state import training_state
from repre_mm.registry import HOOKS

#: What a run that was told to stop leaves; the next one replaces it.
STOPPED = 'stopped.pth'


class AtomicBackend(LocalBackend):
    """Local files, written whole or not at all."""

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """See :func:`repre_mm.engine.resilience.saving.write_checkpoint`."""
        write_checkpoint(obj, Path(filepath))

    def remove(self, filepath: str | os.PathLike) -> None:
        """The checksum goes too."""
        remove_checkpoint(Path(filepath))


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, with another order of things.

    - The checkpoint is written and proven readable, then ``last_checkpoint`` names it, then old ones are removed
      (mmengine removes first).
    - The training waits only until its state is copied, not for the disk. There is one copy at a time: the next save,
      a stop and the end of the training wait for the one under way.
    - When it cannot be written (a full disk, a folder turned read-only) that is logged as an error, the last good
      checkpoint stays, training goes on, and the next interval tries again.
    - With gradient accumulation a checkpoint is taken after an optimizer step: half-summed gradients are in no
      checkpoint. Where an epoch ends in between, its checkpoint is that of the next optimizer step.

    Args:
        backend_args: As in mmengine; the default writes local files atomically.
        background: False lets the training wait for the disk, and takes no second copy of the state in memory.
        kwargs: See ``mmengine.hooks.CheckpointHook``.

    Raises:
        CheckpointError: After the training, when its last checkpoint could not be saved.
    """

    def __init__(self, *args, backend_args: dict | None = None, background: bool = True, **kwargs) -> None:
        register_backend('repre_mm.atomic', AtomicBackend, force=True)
        super().__init__(*args, backend_args=backend_args or {'backend': 'repre_mm.atomic'}, **kwargs)
        if self.args:
            raise TypeError(f'repre_mm.SafeCheckpointHook has no argument {", ".join(self.args)}')
        self.background = background
        self._postponed: int | None = None  # the step whose checkpoint waits for the optimizer
        self._under_way: Future | None = None  # its result says whether the checkpoint was saved
        self._before: tuple[str | None, list[int]] = (None, [])  # what counts again if it was not
        self._failed = False

    def before_train(self, runner: Runner) -> None:
        """Clear away what a killed run left half written."""
        super().before_train(runner)
        if is_main_process():
            wait_for_background()  # an earlier training of this process
            remove_drafts(Path(self.out_dir))

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Save on schedule, and what was postponed."""
        if self._under_way is not None and self._under_way.done():
            self._settle(runner)
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
        """Save in the middle of an epoch, in ``after_train_iter``, and wait until it is done.

        Returns:
            Whether it worked. Only the main process knows; the others get True.
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
        name = self.filename_tmpl.format(step)
        if self.max_keep_ckpts <= 0:
            self._write(runner, name, meta)
            return
        kept = list(self.keep_ckpt_ids)
        wanted = [*(other for other in kept if other != step), step]
        self._keep(runner, wanted[-self.max_keep_ckpts :])  # the checkpoint itself holds the list
        self._write(runner, name, meta, kept, wanted[: -self.max_keep_ckpts])

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        self._settle(runner)
        info = runner.message_hub.runtime_info
        best = {key: value for key, value in info.items() if key.startswith('best_')}
        path, paths = getattr(self, 'best_ckpt_path', None), dict(getattr(self, 'best_ckpt_path_dict', {}))
        backend, self.file_backend = self.file_backend, _RemoveLater(self.file_backend)
        try:
            super()._save_best_checkpoint(runner, metrics)
            self.file_backend.remove_now()
        except (CheckpointError, OSError) as error:
            for key in [key for key in info if key.startswith('best_')]:
                del info[key]
            info.update(best)
            self.best_ckpt_path, self.best_ckpt_path_dict = path, paths
            runner.logger.error(f'could not save the best checkpoint: {error}. Training goes on')
        finally:
            self.file_backend = backend

    def _keep(self, runner: Runner, steps: list[int]) -> None:
        self.keep_ckpt_ids.clear()
        self.keep_ckpt_ids.extend(steps)
        runner.message_hub.update_info('keep_ckpt_ids', steps)

    def _write(self, runner: Runner, name: str, meta: dict, kept: list[int] | None = None, old: Any = ()) -> None:
        """Copy the state; in the background write it, then the pointer, then remove the checkpoints of ``old`` steps.

        Should that fail, ``kept`` is the list of steps again.
        """
        previous = runner.message_hub.runtime_info.get('last_ckpt')
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        self._before = previous, kept
        state = training_state(runner, meta, self.save_optimizer, self.save_param_scheduler)
        if state is None:
            return
        outdated = [self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step)) for step in old]
        save = partial(_save, self.file_backend, self.last_ckpt, Path(runner.work_dir), outdated, previous, runner)
        if self.background:
            self._under_way = run_in_background(partial(save, copy.deepcopy(state)))
        else:
            wait_for_background()
            self._under_way = Future()
            self._under_way.set_result(save(state))
            self._settle(runner)

    def _settle(self, runner: Runner) -> None:
        """Wait for the checkpoint under way; where it failed, the previous one is the last again."""
        if self._under_way is None:
            return
        future, self._under_way = self._under_way, None
        self._failed = not future.result()
        if self._failed:
            self.last_ckpt, kept = self._before
            runner.message_hub.update_info('last_ckpt', self.last_ckpt)
            if kept is not None:
                self._keep(runner, kept)


def _save(
    backend: Any, path: str, work_dir: Path, outdated: list[str], previous: str | None, runner: Runner, state: dict
) -> bool:
    """Checkpoint, pointer, removal of old ones; False, after saying so, where the first two failed."""
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
    """A file backend that removes nothing before it is told to: mmengine removes the old best checkpoint first."""

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
