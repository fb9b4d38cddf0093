"""Ablations of RePre: variants of one config with the same data, encoder and budget.

A cell is one training: a base config (a method on an encoder), a variant of it, and a seed. It keeps its settings and
its scores in a file, so a stopped ablation continues with the same command.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config, ConfigDict

from repre_mm.engine.adapt import set_length
from repre_mm.engine.launch import set_data_root
from repre_mm.utils.errors import UserError
from repre_mm.utils.package import load_config

#: In an override: replaced by the number of training steps in an epoch.
STEPS_PER_EPOCH = 'steps per epoch'
#: Name -> overrides of the config; None stands for the plain method.
VARIANTS: dict[str, dict[str, Any] | None] = {
    'none': None,
    'default': {},
    'single': {'model.neck.features': 'single'},
    'conv_1': {'model.decoder': {'num_fusion_layers': 1}},
    'conv_4': {'model.decoder': {'num_fusion_layers': 4}},
    'transformer_1': {'model.decoder': {'fusion': 'transformer', 'num_fusion_layers': 1}},
    'transformer_2': {'model.decoder': {'fusion': 'transformer', 'num_fusion_layers': 2}},
    'transformer_4': {'model.decoder': {'fusion': 'transformer', 'num_fusion_layers': 4}},
    'levels_2': {'model.neck.num_levels': 2},
    'levels_3': {'model.neck.num_levels': 3},
    'uncertainty_bounded': {'model.loss_weighting.max_ratio': 10.0},
    'uncertainty_from_zero': {'model.loss_weighting.init_steps': 0},
    'fixed': {'model.loss_weighting': {'_delete_': True, 'type': 'repre_mm.FixedWeighting'}},
    **{
        f'fixed_{recon}': {
            'model.loss_weighting': {'_delete_': True, 'type': 'repre_mm.FixedWeighting', 'recon': float(recon)}
        }
        for recon in (10, 30, 100)
    },
    'dwa': {
        'model.loss_weighting': {
            '_delete_': True,
            'type': 'repre_mm.DynamicWeightAveraging',
            'interval': STEPS_PER_EPOCH,
        }
    },
    'width_32': {'model.neck.out_channels': 32},
    'width_64': {'model.neck.out_channels': 64},
    'width_128': {'model.neck.out_channels': 128},
    'width_full': {'model.neck.out_channels': None},
    'gated': {
        'model.neck.type': 'repre_mm.GatedRePreNeck',
        'optim_wrapper.paramwise_cfg.custom_keys': {'repre_neck.gate': {'decay_mult': 0.0}},
    },
    'masked_50': {'model.neck': {'type': 'repre_mm.MaskedRePreNeck', 'mask_ratio': 0.5}},
    'masked_75': {'model.neck': {'type': 'repre_mm.MaskedRePreNeck', 'mask_ratio': 0.75}},
}


class Base(NamedTuple):
    """A method on an encoder, as the paper names them."""

    method: str
    arch: str


_MOCO_VIT = Base('MoCo v3', 'ViT-S')
#: Size -> base -> config of RePre under ``configs/``, and its overrides.
BASES: dict[str, dict[Base, tuple[str, dict[str, Any]]]] = {
    'paper': {
        _MOCO_VIT: ('pretrain/mocov3/repre_mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k.py', {}),
        Base('MoBY', 'ViT-S'): ('pretrain/moby/repre_moby_vit-small-p16_8xb64-amp-coslr-300e_in1k.py', {}),
        Base('MoCo v3', 'Swin-T'): ('pretrain/mocov3/repre_mocov3_swin-tiny_32xb128-amp-coslr-300e_in1k.py', {}),
        Base('MoBY', 'Swin-T'): ('pretrain/moby/repre_moby_swin-tiny_8xb64-amp-coslr-300e_in1k.py', {}),
    },
}
# A Swin of the toy ViT's width, for 48 pixels.
_TOY_SWIN = {
    'model.algorithm.backbone': {
        '_delete_': True,
        'type': 'SwinTransformer',
        'arch': {'embed_dims': 16, 'depths': [1, 1, 2, 1], 'num_heads': [1, 2, 4, 8]},
        'img_size': 48,
        'window_size': 3,
        'pad_small_map': True,
    },
    'model.algorithm.neck.with_avg_pool': True,
}
BASES['toy'] = {
    base: (
        f'toy/repre_{base.method.replace(" ", "").lower()}_vit-tiny_toy.py',
        _TOY_SWIN if base.arch == 'Swin-T' else {},
    )
    for base in BASES['paper']
}
# Photographs on a laptop: six blocks, and patches of more values (768) than the encoder is wide. One batch and one
# process for all methods.
_SMALL: dict[str, Any] = {
    'auto_scale_lr.base_batch_size': 64,
    'train_dataloader': {'num_workers': 0, 'persistent_workers': False},
    'model.algorithm.backbone.arch': {
        '_delete_': True,
        'embed_dims': 96,
        'num_layers': 6,
        'num_heads': 3,
        'feedforward_channels': 384,
    },
    'model.algorithm.neck': {'in_channels': 96, 'hid_channels': 512},
}
BASES['small'] = {
    Base('SimCLR', 'ViT'): ('recipes/repre_simclr_vit-tiny_cpu.py', _SMALL),
    Base('MoCo v3', 'ViT'): (
        'recipes/repre_mocov3_vit-tiny_cpu.py',
        {**_SMALL, 'model.algorithm.head.predictor.hid_channels': 512},
    ),
}


@dataclass(frozen=True)
class Study:
    """A comparison: columns (label -> variant) for each of the bases."""

    title: str
    columns: dict[str, str]
    bases: tuple[Base, ...] = (_MOCO_VIT,)


#: The first two are Tables 4 and 5 of the paper.
STUDIES: dict[str, Study] = {
    'features': Study(
        'Features that are decoded', {'none': 'none', 'single': 'single', 'multi': 'default'}, tuple(BASES['paper'])
    ),
    'fusion': Study(
        'Fusion layer of the decoder: operator and number of layers',
        {
            'none': 'none',
            'Conv 1': 'conv_1',
            'Conv 2': 'default',
            'Conv 4': 'conv_4',
            'Transformer 1': 'transformer_1',
            'Transformer 2': 'transformer_2',
            'Transformer 4': 'transformer_4',
        },
        (_MOCO_VIT, Base('MoCo v3', 'Swin-T')),
    ),
    'levels': Study('Levels K', {'1': 'single', '2': 'levels_2', '3': 'levels_3', '4': 'default'}),
    'weighting': Study(
        'Loss weighting',
        {
            'uncertainty': 'default',
            'uncertainty from 0': 'uncertainty_from_zero',
            'uncertainty, ratio at most 10': 'uncertainty_bounded',
            'fixed 1 : 1': 'fixed',
            'fixed 1 : 10': 'fixed_10',
            'fixed 1 : 30': 'fixed_30',
            'fixed 1 : 100': 'fixed_100',
            'DWA': 'dwa',
        },
    ),
    'width': Study('Decoder width', {'32': 'width_32', '64': 'width_64', '128': 'width_128', 'full': 'width_full'}),
    'gate': Study('Choice of levels', {'fixed': 'default', 'learned gate': 'gated'}),
    'masked': Study('Masked cells', {'0 %': 'default', '50 %': 'masked_50', '75 %': 'masked_75'}),
}


class Cell(NamedTuple):
    """One training."""

    base: Base
    variant: str
    seed: int

    @property
    def folder(self) -> Path:
        """Its place in the work dir."""
        name = '_'.join(part.replace(' ', '').lower() for part in self.base if part)
        return Path(name, self.variant, f'seed_{self.seed}')


@dataclass(frozen=True)
class Settings:
    """Settings of all cells of an ablation.

    Attributes:
        size: ``'paper'`` or ``'toy'``, see :data:`BASES`.
        data: Holds ``{train,val}/<class>/*``.
        train_images: Number of training images.
        config: One RePre config to ablate instead of the bases of ``size``.
        epochs: Instead of the config's; schedulers keep their shares of the training.
        gpus: Processes of a training; the total batch stays the config's.
        k: Neighbours of the kNN score.
        options: Overrides of every config (``--cfg-options``).
    """

    size: str
    data: str
    train_images: int
    config: str | None = None
    epochs: int | None = None
    gpus: int = 1
    k: int = 20
    options: dict[str, Any] = field(default_factory=dict)

    def bases(self, study: str) -> tuple[Base, ...]:
        """The bases of a study, or the one config."""
        return (Base(Path(self.config).stem, ''),) if self.config else STUDIES[study].bases

    def cell_settings(self, cell: Cell) -> dict[str, Any]:
        """Everything that decides a cell's result, for JSON."""
        return {**asdict(self), **cell._asdict(), 'base': list(cell.base), 'overrides': VARIANTS[cell.variant]}


def cells_of(
    settings: Settings, studies: Iterable[str], seeds: Sequence[int], methods: Sequence[str], archs: Sequence[str]
) -> list[Cell]:
    """The cells of some studies, without duplicates.

    ``methods`` and ``archs`` restrict the bases; empty, they allow all.
    """
    found = dict.fromkeys(
        Cell(base, variant, seed)
        for study in studies
        for base in settings.bases(study)
        for variant in STUDIES[study].columns.values()
        for seed in seeds
        if settings.config or ((base.method in methods or not methods) and (base.arch in archs or not archs))
    )
    return list(found)


def base_config(base: Base, settings: Settings, configs: Path) -> Config:
    """The RePre config that the variants of a base override.

    Raises:
        UserError: It does not wrap its method in RePre.
    """
    name, overrides = (settings.config, {}) if settings.config else BASES[settings.size][base]
    cfg = load_config(name if settings.config else str(configs / name))
    if cfg.get('model', {}).get('type') != 'repre_mm.RePreAlgorithm':
        raise UserError(f'{name} has no RePreAlgorithm to ablate: name one of the repre_* configs')
    cfg.merge_from_dict(copy.deepcopy(overrides))
    cfg.merge_from_dict(copy.deepcopy(settings.options))
    return cfg


def cell_config(cell: Cell, settings: Settings, work_dir: Path, configs: Path) -> Config:
    """The config of one cell, for a ``work_dir`` of the whole ablation and the project's folder of ``configs``."""
    cfg = base_config(cell.base, settings, configs)
    set_data_root(cfg, settings.data)
    total = (cfg.get('auto_scale_lr') or {}).get('base_batch_size', cfg.train_dataloader.batch_size)
    cfg.train_dataloader.batch_size = max(total // settings.gpus, 1)
    _apply(cfg, cell.variant, max(settings.train_images // total, 1))
    cfg.launcher, cfg.work_dir = 'none', str(work_dir / cell.folder)
    cfg.experiment_name = cfg.work_dir.replace('/', '_')
    cfg.randomness.seed = cell.seed
    cfg.log_level = 'WARNING'  # the progress bar shows the rest
    if 'recipe' in cfg:
        set_length(cfg, settings.epochs)
    elif settings.epochs:
        shorten_schedule(cfg, settings.epochs)
    # Neither scores nor pictures during training.
    cfg.default_hooks.update(knn=None, reconstruction=None)
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=2)
    return cfg


def shorten_schedule(cfg: Config, epochs: int) -> None:
    """Train for another number of epochs; every scheduler keeps its share of the training.

    A scheduler of less than half an epoch, usually a warm-up, is dropped.
    """
    factor = epochs / cfg.train_cfg.max_epochs
    cfg.train_cfg.max_epochs = epochs
    kept = []
    for scheduler in cfg.param_scheduler:
        scheduler = ConfigDict(scheduler)
        for key in ('begin', 'end', 'T_max'):
            if scheduler.get(key) is not None:
                scheduler[key] = round(scheduler[key] * factor)
        if scheduler.get('end') is None or scheduler.end > scheduler.get('begin', 0):
            kept.append(scheduler)
    cfg.param_scheduler = kept


def kept_scores(path: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The scores of a finished cell, or None.

    Raises:
        UserError: The cell was trained with other settings.
    """
    if not path.is_file():
        return None
    cell = json.loads(path.read_text())
    others = [f'{key}={cell["settings"].get(key)!r}' for key in settings if cell['settings'].get(key) != settings[key]]
    if others:
        raise UserError(f'{path.parent} was made with {", ".join(others)}: name another --work-dir, or remove it')
    return cell.get('scores')


def _apply(cfg: Config, variant: str, steps_per_epoch: int) -> None:
    overrides = copy.deepcopy(VARIANTS[variant])
    if overrides is None:
        cfg.model = cfg.model.algorithm
        return
    weighting = overrides.get('model.loss_weighting', {})
    if weighting.get('interval') == STEPS_PER_EPOCH:
        weighting['interval'] = steps_per_epoch
    decoder, backbone = overrides.get('model.decoder', {}), cfg.model.algorithm.backbone
    if decoder.get('fusion') == 'transformer' and backbone.type.endswith('SwinTransformer'):
        # "The same basic Transformer layer as the backbone" (Sec. 4.3.2): windows, 7 cells wide where unsaid.
        decoder['window_size'] = backbone.get('window_size', 7)
    cfg.merge_from_dict(overrides)
