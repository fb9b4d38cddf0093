"""MMEngine's Runner with an exact resume: a training interrupted anywhere ends as if it had not been."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, get_rank, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger, print_log
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from repre_mm.checkpoint import CheckpointError, read_checkpoint
from repre_mm.checkpoint.saving import (
    ResumePoint,
    newest_checkpoint,
    resume_point,
    verify_checkpoint,
    wait_until_saved,
)
from repre_mm.distributed.sharding import is_sharded, split_optimizer_state, whole_states
from repre_mm.engine.first_screen import filter_console, training_summary
from repre_mm.engine.initial_weights import check_init_cfg, check_loaded
from repre_mm.engine.resilience.replay import make_replayable, seed_step
from repre_mm.engine.safe_loading import install_safe_loading


class EpochTrainLoop(EpochBasedTrainLoop):
    """mmengine's loop, which can also start within an epoch."""

    start = 0  # batches of the current epoch that are done, and not read again

    def run_epoch(self) -> None:
        """Train on the rest of the epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        start, self.start = self.start, 0
        self.dataloader.batch_sampler.start = start  # 0 again in the next epoch
        for index, batch in enumerate(self.dataloader, start):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


class IterTrainLoop(IterBasedTrainLoop):
    """mmengine's loop, which finds its position in the data without reading what comes before."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.dataloader_iterator.skip_iter = self._skip

    def run_iter(self, data_batch: Any) -> None:
        """Train for one step; the next pass over the data starts at its first batch."""
        self.dataloader.batch_sampler.start = 0
        super().run_iter(data_batch)

    def _skip(self, iterations: int) -> None:
        batches = self.dataloader.batch_sampler
        if not hasattr(batches.sampler, 'skip'):  # which mmengine's endless sampler has
            self.dataloader_iterator._epoch, iterations = divmod(iterations, len(self.dataloader))
            if hasattr(batches.sampler, 'set_epoch'):
                batches.sampler.set_epoch(self.dataloader_iterator._epoch)
        batches.start = iterations


# Names in default_hooks that mmengine fills itself.
_MMENGINE_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
_LOOPS = {'EpochBasedTrainLoop': EpochTrainLoop, 'IterBasedTrainLoop': IterTrainLoop}


class ReplayHook(Hook):
    """Seed each step by its number, and note in checkpoints how long an epoch is."""

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed the random streams of the step."""
        seed_step(runner.base_seed, get_rank() if runner.ranks_differ else 0, runner.iter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note the length of an epoch, which a resume compares with its own."""
        checkpoint['meta']['batches_per_epoch'] = len(runner.train_dataloader)


class ResumableRunner(Runner):
    """mmengine's Runner, with a resume that is exact and safe.

    ``resume=True`` goes on from ``load_from`` if that is set, or from the newest valid checkpoint of the work dir;
    without one it starts. It takes over the run's seed, also a drawn one. On the same software, hardware, number of
    processes and batch size a resumed training has the weights, optimizer state and losses of an uninterrupted one, bit
    by bit on devices that compute deterministically (CPUs do).
    """

    _resume_point: ResumePoint | None = None
    _resume_chosen = False

    def __init__(self, *args, **kwargs) -> None:
        install_safe_loading()
        super().__init__(*args, **kwargs)
        self._console.setting_up = False

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Build the logger; see :mod:`repre_mm.engine.first_screen` for what the console shows of it."""
        logger = super().build_logger(*args, **kwargs)
        self._console = filter_console(logger)
        return logger

    @property
    def base_seed(self) -> int:
        """The run's seed, the same on all ranks."""
        return self.seed - (get_rank() if self.ranks_differ else 0)

    @property
    def ranks_differ(self) -> bool:
        """Whether the ranks draw differently in training steps."""
        return self._randomness_cfg.get('diff_rank_seed', False)

    def set_randomness(self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False) -> None:
        """On the first call find what to resume from; then seed, with that run's seed."""
        if not self._resume_chosen:
            self._resume_chosen = True
            self._resume_point = _choose(self.cfg, Path(self.work_dir)) if self.cfg.get('resume') else None
        recorded = self._resume_point.seed if self._resume_point else None
        if recorded is not None and recorded != seed:
            if seed is not None:
                print_log(f'the run was begun with seed {recorded}, and keeps it: randomness.seed={seed} is ignored')
            seed = recorded
        super().set_randomness(seed, diff_rank_seed, deterministic)
        self._randomness_cfg = dict(seed=self.base_seed, diff_rank_seed=diff_rank_seed, deterministic=deterministic)

    def register_default_hooks(self, hooks: dict[str, Hook | dict | None] | None = None) -> None:
        """Register the hooks of a config by name; None drops any of them.

        A hook in ``custom_hooks`` replaces the default hook of its type, since older configs list theirs there.
        """
        custom = {_type_name(hook) for hook in self.cfg.get('custom_hooks') or ()}
        kept = {
            name: hook
            for name, hook in (hooks or {}).items()
            if name in _MMENGINE_HOOKS or (hook is not None and _type_name(hook) not in custom)
        }
        super().register_default_hooks(kept)

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop and make its data replayable."""
        if isinstance(loop, BaseLoop):
            return loop
        kind = loop.get('type', 'EpochBasedTrainLoop' if loop.get('by_epoch') else 'IterBasedTrainLoop')
        loop = {key: value for key, value in loop.items() if key != 'by_epoch'} | {'type': _LOOPS.get(kind, kind)}
        if isinstance(self._train_dataloader, dict):
            # The order of the images must follow from the seed, not from what was drawn before.
            self._train_dataloader['sampler'].setdefault('seed', self.base_seed)
        built = super().build_train_loop(loop)
        make_replayable(built.dataloader, self.base_seed, get_rank())
        self.register_hook(ReplayHook())
        self.logger.info(training_summary(self, built))
        return built

    def save_checkpoint(self, *args, **kwargs) -> None:
        """Save whole tensors, also of split parameters."""
        with whole_states(self.model, self.optim_wrapper.optimizer):
            super().save_checkpoint(*args, **kwargs)

    def _init_model_weights(self) -> None:
        if not is_sharded(self.model):  # which its wrapper has initialised
            super()._init_model_weights()
            check_init_cfg(self)

    def load_or_resume(self) -> None:
        """Resume from what was found, or load what ``load_from`` names."""
        if self._has_loaded:
            return
        point = self._resume_point
        if self._resume and point is not None:
            for line in point.passed_over:
                self.logger.warning(f'passed over: {line}')
            self.logger.info(f'resuming from {point.path}')
            self.resume(str(point.path))
        elif self._resume:
            self.logger.info(f'nothing to resume in {self.work_dir}: training starts')
        elif self._load_from is not None:
            self.load_checkpoint(self._load_from)

    def load_checkpoint(self, filename: str, *args, **kwargs) -> dict[str, Any]:
        """Load a checkpoint into the model.

        Raises:
            CheckpointError: It cannot be read, or fills too little of the encoder.
        """
        checkpoint = super().load_checkpoint(filename, *args, **kwargs)
        check_loaded(self, 'load_from', filename, checkpoint)
        return checkpoint

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Resume from a checkpoint, also within an epoch."""
        if is_sharded(self.model):
            self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
            self.optim_wrapper.optimizer.register_load_state_dict_pre_hook(split_optimizer_state)
        super().resume(filename, *args, **kwargs)
        loop = self.train_loop
        if not isinstance(loop, EpochTrainLoop):
            return
        length = len(loop.dataloader)
        then = read_checkpoint(filename, map_location='meta')['meta'].get('batches_per_epoch', length)
        if then == length:
            loop.start = loop.iter - loop.epoch * length
        else:
            self.logger.warning(
                f'an epoch has {length} batches now and had {then} when {filename} was saved (another batch size, '
                f'number of processes or data set): epoch {loop.epoch + 1} starts from its first batch'
            )


def _type_name(hook: Hook | dict) -> str:
    kind = hook['type'] if isinstance(hook, dict) else type(hook)
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__


def _choose(cfg: dict, work_dir: Path) -> ResumePoint | None:
    """Choose what to resume from, on the main process for all."""
    answer: list[Any] = [None]
    if is_main_process():
        wait_until_saved()  # an earlier training of this process may still be saving
        try:
            answer[0] = _look_up(cfg.get('load_from'), work_dir)
        except CheckpointError as error:
            answer[0] = error
    broadcast_object_list(answer)
    if isinstance(answer[0], CheckpointError):
        raise answer[0]
    return answer[0]


def _look_up(named: str | os.PathLike | None, work_dir: Path) -> ResumePoint | None:
    if named is None:
        return newest_checkpoint(work_dir)
    point = resume_point(Path(named))
    if point is None:
        raise CheckpointError(
            f'cannot resume from {named}: it holds weights only; leave --resume out to start from them'
        )
    verify_checkpoint(point.path)
    return point
