"""Find schedules that do not fit the training: another end, or a warm-up that never reaches the base rate."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, inf
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope
from torch import nn

from repre_mm.checkpoint import read_checkpoint
from repre_mm.checkpoint.saving import newest_checkpoint, resume_point
from repre_mm.engine.checks.explain import explain, find_type
from repre_mm.engine.checks.image_folders import count_images
from repre_mm.engine.checks.sizes import global_batch, num_processes
from repre_mm.utils.configs import walk

_EPOCHS_FIX = 'set the length by --epochs {}, which all schedules follow'


def schedulers_of(cfg: Config) -> list[ConfigDict]:
    """Return the schedulers of a config with one optimizer, in a list."""
    found = cfg.get('param_scheduler') or []
    found = [found] if isinstance(found, dict) else found
    return [scheduler for scheduler in found if 'type' in scheduler]  # else a list for each optimizer


def is_warmup(scheduler: dict) -> bool:
    """Return whether a scheduler raises the learning rate from a share of the base rate to all of it."""
    kind = str(scheduler.get('type')).rpartition('.')[2]
    start = scheduler.get('start_factor', scheduler.get('factor', 1 / 3))
    rises = kind == 'QuadraticWarmupLR' or (
        kind in ('LinearLR', 'ConstantLR') and start < scheduler.get('end_factor', 1.0) and not scheduler.get('begin')
    )
    return rises and scheduler.get('end', inf) < inf


def schedule_faults(cfg: Config) -> Iterator[str]:
    """Find schedules that cannot be built, or whose begin or end contradicts the length of the training."""
    schedulers = schedulers_of(cfg)
    begins = {scheduler.get('begin', 0) for scheduler in schedulers}  # where another schedule takes over
    for index, scheduler in enumerate(schedulers):
        path, by_epoch = f'param_scheduler.{index}', scheduler.get('by_epoch', True)
        begin, end = scheduler.get('begin', 0), scheduler.get('end', inf)
        last = cfg.train_cfg.get('max_epochs' if by_epoch else 'max_iters') or inf
        fix = _EPOCHS_FIX.format(last) if by_epoch else f'set it to {last}'
        if begin >= end:
            yield f'{path}.end={end}: must be above begin={begin}'
        elif fault := _refused(cfg, scheduler):
            yield f'{path}: {fault}'
        elif begin >= last:
            yield f'{path}.begin={begin}: training ends at {last}, before this schedule begins'
        elif is_warmup(scheduler) and last <= end < inf:
            yield f'{path}.end={end}: the training ends at {last}, before its warm-up; {fix}'
        elif _follows_to_the_end(scheduler) and end != last < inf and end < inf and end not in begins:
            what = 'the rest would run at its last value' if end < last else 'it would be cut off half-way'
            yield f'{path}.end={end}: the training ends at {last}, so {what}; {fix}'
    last = cfg.train_cfg.get('max_epochs') or inf
    for path, node in walk(cfg.model, 'model'):
        if node.get('warmup_teacher_temp_epochs', 0) >= last:
            yield (
                f'{path}.warmup_teacher_temp_epochs={node.warmup_teacher_temp_epochs}: the training ends at {last}, '
                f'before the temperature is reached; {_EPOCHS_FIX.format(last)}'
            )


def warmup_faults(cfg: Config) -> Iterator[str]:
    """Find warm-ups that do not reach the base rate with the number of images that there are."""
    epochs = cfg.train_cfg.get('max_epochs')
    for index, scheduler in enumerate(schedulers_of(cfg)):
        if not is_warmup(scheduler):
            continue
        path, begin, end = f'param_scheduler.{index}', scheduler.get('begin', 0), scheduler.end
        by_epoch, per_epoch = scheduler.get('by_epoch', True), 1
        # Steps in an epoch of which the warm-up has two, or the training more than the warm-up; no more are counted.
        needed = 2 / (end - begin) if by_epoch else (end + 1) / (epochs or inf)
        if not needed:  # a training that counts iterations only
            continue
        if scheduler.get('convert_to_iter_based') or not by_epoch:
            per_epoch = steps_per_epoch(cfg, ceil(needed))
        if per_epoch is None or per_epoch >= needed:
            continue
        if by_epoch:
            share = scheduler.get('start_factor', scheduler.get('factor', 1 / 3))
            yield (
                f'{path}: a warm-up from {begin} to {end} is one step at {global_batch(cfg)} images a step, and leaves '
                f'the rate at {share:g} of its base until the end; leave it out, which --epochs {epochs} does, or take '
                'a smaller batch by --batch-size'
            )
        else:
            yield (
                f'{path}.end={end}: the training has {per_epoch * epochs} steps ({epochs} epochs of {per_epoch}) and '
                f'ends before its warm-up; {_EPOCHS_FIX.format(epochs)}'
            )


def resume_faults(cfg: Config) -> Iterator[str]:
    """Find a checkpoint to resume from whose schedules end elsewhere than the config's: a resume keeps them."""
    point = resume_point(Path(cfg.load_from)) if cfg.get('load_from') else newest_checkpoint(Path(cfg.work_dir))
    if point is None:
        return
    checkpoint = read_checkpoint(point.path, map_location='meta')
    per_epoch = checkpoint['meta'].get('batches_per_epoch')
    for index, (state, scheduler) in enumerate(zip(checkpoint['param_schedulers'], schedulers_of(cfg), strict=False)):
        unit = per_epoch if scheduler.get('convert_to_iter_based') else 1
        if per_epoch and 'end' in scheduler and state['end'] != int(scheduler.end * unit):
            yield (
                f'--resume: {point.path} was trained with param_scheduler.{index}.end={state["end"] / unit:g}, not '
                f'{scheduler.end:g}; a resume keeps the old schedule. Keep its length too, or start anew from '
                f'its weights in another work dir by --init-from {point.path}'
            )
            return


def steps_per_epoch(cfg: Config, most: int | None = None) -> int | None:
    """Count the steps of an epoch, ``most`` at most; None where the data is no folder of images.

    Files that turn out to be damaged count, so there may be a step less.
    """
    images = count_images(cfg.train_dataloader.dataset, most and most * global_batch(cfg))
    if images is None:
        return None
    # Samplers fill up the last process's share.
    steps = ceil(images / num_processes()) / cfg.train_dataloader.get('batch_size', 1)
    return int(steps) if cfg.train_dataloader.get('drop_last') else ceil(steps)


def drop_last_faults(cfg: Config) -> Iterator[str]:
    """Find data of less than one batch, of which ``drop_last`` leaves nothing."""
    if steps_per_epoch(cfg, 1) == 0:
        images, processes = count_images(cfg.train_dataloader.dataset), num_processes()
        said = f' on {processes} processes' if processes > 1 else ''
        yield (
            f'train_dataloader.batch_size={cfg.train_dataloader.batch_size}{said}: there are {images:,} images, and '
            f'drop_last=True leaves no batch of them; lower it to {max(images // processes, 1)} at most'
        )


def _follows_to_the_end(scheduler: dict) -> bool:
    """Whether its shape depends on its end: a cosine, a polynomial or a line, not steps."""
    kind = str(scheduler.get('type')).rpartition('.')[2]
    return kind.startswith(('CosineAnnealing', 'Poly', 'Linear')) and not is_warmup(scheduler)


def _refused(cfg: Config, scheduler: ConfigDict) -> str | None:
    """What the constructor of a scheduler says."""
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))])  # one each, since some schedulers change it
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
        found = find_type(scheduler.type, PARAM_SCHEDULERS)
        if isinstance(found, str):
            return found
        try:
            PARAM_SCHEDULERS.build(ConfigDict(scheduler), default_args={'optimizer': optimizer, 'epoch_length': 1000})
        except Exception as error:
            return explain(error)
    return None
