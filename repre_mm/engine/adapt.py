"""Change a config to another batch, length or encoder, with all that depends on them: schedules, rates, intervals."""

from __future__ import annotations

from math import ceil, inf

import torch
from mmengine.config import Config

from repre_mm.datasets import view_sizes
from repre_mm.engine.checks.schedule import is_warmup, schedulers_of, steps_per_epoch
from repre_mm.engine.checks.sizes import global_batch, num_processes
from repre_mm.engine.checks.widths import WithoutMemory
from repre_mm.evaluation.encoders import timm_model
from repre_mm.models.backbones import TimmBackbone
from repre_mm.utils.configs import walk
from repre_mm.utils.errors import UserError

# Hooks whose interval is in epochs, by their names in ``default_hooks``.
_BY_EPOCH = ('checkpoint', 'reconstruction', 'knn')
_LONGEST_WARMUP = 0.1  # of a training
_FASTEST_TARGET = 0.5  # weight of the online network in an update of the target network


def set_batch_size(cfg: Config, batch: int) -> None:
    """Train with another number of images per step, over all processes.

    The learning rate follows linearly from ``auto_scale_lr.base_batch_size``, or else from the config's own batch on
    one process. The log-variances of the loss weighting keep their rate. The target network averages over as many
    images as before, and a queue becomes a multiple of the batch.

    Raises:
        UserError: The processes cannot share the batch evenly.
    """
    processes = num_processes()
    if batch % processes:
        raise UserError(
            f'--batch-size {batch}: {processes} processes cannot share it evenly; choose a multiple of {processes}'
        )
    scaling = cfg.get('auto_scale_lr') or {}
    ratio = batch / (scaling.get('base_batch_size') or cfg.train_dataloader.get('batch_size', 1))
    if scaling:
        cfg.auto_scale_lr = dict(base_batch_size=batch, enable=False)
    cfg.train_dataloader.batch_size = batch // processes
    cfg.optim_wrapper.optimizer.lr *= ratio
    keys = (cfg.optim_wrapper.get('paramwise_cfg') or {}).get('custom_keys') or {}
    if 'lr_mult' in keys.get('loss_weighting', {}):
        keys['loss_weighting']['lr_mult'] /= ratio
    for hook in (cfg.get('default_hooks') or {}).values():
        if hook and str(hook.get('type')).endswith('SimSiamHook'):
            hook.lr *= ratio
    if 'recipe' not in cfg:
        _speed_up_targets(cfg, ratio)
    for _, node in walk(cfg.model):
        if 'queue_len' in node:
            node.queue_len = max(round(node.queue_len / batch), 1) * batch


def set_length(cfg: Config, epochs: int | None = None) -> None:
    """Set the number of epochs: schedules and intervals are stretched, and target networks follow faster or slower.

    Args:
        cfg: A training config. One with ``recipe=dict(images_seen=N, steps=S)`` can count its epochs itself: as many as
            show N images, whatever the data's size; the momentum of a target network is that of a training of S steps.
        epochs: Default: by the recipe.

    Raises:
        UserError: The training counts iterations.
    """
    before, recipe = cfg.train_cfg.get('max_epochs'), cfg.pop('recipe', None)
    if not before:
        raise UserError(
            '--epochs: this training counts iterations; set train_cfg.max_iters and the ends in param_scheduler'
        )
    per_epoch = steps_per_epoch(cfg)
    if recipe and per_epoch:
        epochs = epochs or max(round(recipe['images_seen'] / (per_epoch * global_batch(cfg))), 1)
        _speed_up_targets(cfg, recipe.get('steps', 0) / (epochs * per_epoch))
    elif epochs:
        _speed_up_targets(cfg, before / epochs)
    if epochs:
        _stretch(cfg, epochs, per_epoch or inf)


def set_encoder(cfg: Config, name: str) -> None:
    """Replace the encoder by a timm model, and fit the neck to its vector; RePre fits its own parts.

    Args:
        cfg: A pre-training config.
        name: ``'timm:MODEL'``, with options as in ``'timm:MODEL,drop_path_rate=0.1'``.

    Raises:
        UserError: timm has no such model, or the model does not take the options or crops of the config's size.
    """
    model, options = timm_model(name)
    method = cfg.model.get('algorithm') or cfg.model
    sizes = view_sizes(cfg.train_dataloader.dataset.pipeline)
    any_size = {'dynamic_img_size': True} if len(set(sizes)) > 1 else {}
    # Convolutional models take crops of any size, and neither option.
    for extra in ({'img_size': sizes[0], **any_size}, {}):
        backbone = {'type': 'repre_mm.TimmBackbone', 'model_name': model, **extra, **options}
        try:
            with torch.random.fork_rng(devices=[]), WithoutMemory():
                width = TimmBackbone(**{key: value for key, value in backbone.items() if key != 'type'}).embed_dims
            break
        except UserError:
            if not extra:
                raise
    method.backbone = backbone
    method.neck.in_channels = width
    if str(method.neck.type).endswith('NonLinearNeck'):
        method.neck.with_avg_pool = False


def _stretch(cfg: Config, epochs: int, per_epoch: float) -> None:
    """Stretch every schedule and interval to a number of epochs; warm-up takes a tenth of them at most."""
    before = cfg.train_cfg.max_epochs
    ratio = epochs / before
    schedulers = schedulers_of(cfg)
    first = [each.end for each in schedulers if is_warmup(each) and each.get('by_epoch', True)]
    old = max(first, default=0)
    new = min(old * ratio, epochs * _LONGEST_WARMUP)
    if new * per_epoch < 2:
        new = 0

    def moved(epoch: float) -> float:
        return epoch * new / old if epoch <= old > 0 else epochs - (before - epoch) * (epochs - new) / (before - old)

    for each in schedulers:
        if not each.get('by_epoch', True):
            if is_warmup(each):
                end = int(min(each.end, epochs * per_epoch * _LONGEST_WARMUP))
                each.end = end if end > 1 else 0
            continue
        exact = each.get('convert_to_iter_based')  # else whole epochs
        for key in ('begin', 'end', 'milestones'):
            if key in each:
                values = each[key] if key == 'milestones' else [each[key]]
                values = [moved(value) if exact else round(moved(value)) for value in values]
                each[key] = values if key == 'milestones' else values[0]
    cfg.param_scheduler = [each for each in schedulers if not is_warmup(each) or each.end > each.get('begin', 0)]
    cfg.train_cfg.max_epochs = epochs
    if 'val_interval' in cfg.train_cfg:
        cfg.train_cfg.val_interval = max(round(cfg.train_cfg.val_interval * ratio), 1)
    hooks = cfg.get('default_hooks') or {}
    for hook in filter(None, map(hooks.get, _BY_EPOCH)):
        if hook.get('by_epoch', True) and 'interval' in hook:
            hook.interval = max(round(hook.interval * ratio), 1)
    if hook := hooks.get('dino'):
        hook.freeze_last_layer = ceil(hook.get('freeze_last_layer', 1) * ratio)
    for _, node in walk(cfg.model):
        if 'warmup_teacher_temp_epochs' in node:
            node.warmup_teacher_temp_epochs = int(node.warmup_teacher_temp_epochs * ratio)


def _speed_up_targets(cfg: Config, ratio: float) -> None:
    """Let target networks follow as far in 1 / ``ratio`` of the updates."""
    for _, node in walk(cfg.model):
        for key in ('base_momentum', 'momentum'):
            weight = node.get(key)
            if isinstance(weight, float) and (key == 'base_momentum' or str(node.get('type')).endswith('MoCo')):
                node[key] = min(1 - (1 - weight) ** ratio, max(weight, _FASTEST_TARGET))
