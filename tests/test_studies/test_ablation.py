"""Variants, bases and cells of the ablation: every one builds, and changes what it says."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from repre_mm.studies.ablation import (
    BASES,
    STUDIES,
    VARIANTS,
    Base,
    Cell,
    Settings,
    cell_config,
    cells_of,
    kept_scores,
    shorten_schedule,
)

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs'
TINY = ROOT / 'tests/fixtures/tiny_config.py'
TINY_BASE = Base('tiny_config', '')
MOCO_SWIN = Base('MoCo v3', 'Swin-T')


def _settings(**options) -> Settings:
    return Settings(**{'size': 'toy', 'data': 'data', 'train_images': 12, 'config': str(TINY), **options})


def _config(variant: str, base: Base = TINY_BASE, seed: int = 0, **options):
    return cell_config(Cell(base, variant, seed), _settings(**options), Path('work'), CONFIGS)


def _model(cfg):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build({'data_preprocessor': cfg.data_preprocessor, **cfg.model})


def test_studies_name_variants_and_every_variant_is_used():
    assert {variant for study in STUDIES.values() for variant in study.columns.values()} == set(VARIANTS)


@pytest.mark.parametrize('variant', VARIANTS)
def test_variant_builds_and_learns(variant):
    cfg = _config(variant, seed=3)
    assert cfg.randomness.seed == 3
    losses = _model(cfg).loss([torch.rand(4, 3, 32, 32) for _ in range(2)], [])
    losses['loss'].backward()
    assert losses['loss'].isfinite()
    assert ('recon_l1' in losses) == (variant != 'none')


def test_variants_change_what_they_say():
    assert _config('none').model.type == 'MoCoV3'
    assert _config('conv_4').model.decoder == {'num_fusion_layers': 4}
    assert _config('uncertainty_bounded').model.loss_weighting.max_ratio == 10
    assert _config('fixed').model.loss_weighting == {'type': 'repre_mm.FixedWeighting'}
    weighting = _config('dwa').model.loss_weighting
    assert weighting == {'type': 'repre_mm.DynamicWeightAveraging', 'interval': 3}  # 12 images by 4
    assert VARIANTS['dwa']['model.loss_weighting']['interval'] == 'steps per epoch'  # the table is not written to
    gated = _config('gated')
    assert gated.model.neck.type == 'repre_mm.GatedRePreNeck'
    keys = gated.optim_wrapper.paramwise_cfg.custom_keys
    assert keys['repre_neck.gate'].decay_mult == keys['loss_weighting'].decay_mult == 0


@pytest.mark.parametrize('base', BASES['toy'], ids=' '.join)
def test_single_features_have_the_default_decoder(base):
    def convolutions(variant: str) -> int:
        model = _model(_config(variant, base, config=None))
        fusions = model.repre_decoder.fusions
        return sum(isinstance(module, torch.nn.Conv2d) for module in fusions.modules())

    assert convolutions('single') == convolutions('default') == 3 * 2  # three levels are fused in, by two layers each


@pytest.mark.parametrize('size', ('paper', 'toy'))
@pytest.mark.parametrize('base', BASES['paper'], ids=' '.join)
def test_configs_are_those_of_the_method_and_encoder(size, base):
    cfg = _config('default', base, config=None, size=size)
    assert cfg.model.algorithm.type.lower().endswith(base.method.replace(' ', '').lower())
    assert ('Swin' in cfg.model.algorithm.backbone.type) == (base.arch == 'Swin-T')
    if size == 'paper':
        assert cfg.train_cfg.max_epochs == 300


@pytest.mark.parametrize(('size', 'window'), [('paper', 7), ('toy', 3)])
def test_transformer_fusion_is_the_encoders_layer(size, window):
    swin = _config('transformer_2', MOCO_SWIN, config=None, size=size).model.decoder
    assert swin == {'fusion': 'transformer', 'num_fusion_layers': 2, 'window_size': window}
    vit = _config('transformer_2', Base('MoCo v3', 'ViT-S'), config=None, size=size).model.decoder
    assert 'window_size' not in vit
    assert 'window_size' not in VARIANTS['transformer_2']['model.decoder']  # the table is not written to


def test_total_batch_stays_that_of_the_config():
    for gpus, batch in ((8, 512), (32, 128)):
        cfg = _config('default', Base('MoCo v3', 'ViT-S'), config=None, size='paper', gpus=gpus)
        assert cfg.train_dataloader.batch_size == batch


def test_a_base_without_repre_is_refused():
    with pytest.raises(ValueError, match='has no RePreAlgorithm to ablate'):
        _config('default', config=str(CONFIGS / 'toy/mocov3_vit-tiny_toy.py'))


def test_all_schedulers_are_shortened():
    # As in the DINO configs: warm-up, cosine of the rate, cosine of the weight decay.
    cfg = Config(
        dict(
            train_cfg=dict(max_epochs=100),
            param_scheduler=[
                dict(type='LinearLR', begin=0, end=10),
                dict(type='CosineAnnealingLR', begin=10, end=100, T_max=90),
                dict(type='CosineAnnealingParamScheduler', param_name='weight_decay', end=100),
                dict(type='ConstantLR'),
            ],
        )
    )
    shorten_schedule(cfg, 20)
    spans = [(s.type, s.get('begin'), s.get('end'), s.get('T_max')) for s in cfg.param_scheduler]
    assert cfg.train_cfg.max_epochs == 20
    assert spans == [
        ('LinearLR', 0, 2, None),
        ('CosineAnnealingLR', 2, 20, 18),
        ('CosineAnnealingParamScheduler', None, 20, None),
        ('ConstantLR', None, None, None),
    ]
    shorten_schedule(cfg, 1)  # a warm-up of a tenth of an epoch is none
    assert [s.type for s in cfg.param_scheduler] == [
        'CosineAnnealingLR',
        'CosineAnnealingParamScheduler',
        'ConstantLR',
    ]
    assert cfg.param_scheduler[0].begin == 0 and cfg.param_scheduler[0].end == 1


def test_cells_are_those_of_the_studies_each_once():
    settings = _settings(config=None)
    cells = cells_of(settings, ['features', 'fusion'], [0, 1], [], [])
    # Table 4: 4 bases x 3; Table 5: 2 bases x 7, of which 'none' and 'default' stand in Table 4.
    assert len(cells) == len(set(cells)) == 2 * (12 + 2 * 5)
    only = cells_of(settings, ['features', 'fusion'], [0], ['MoBY'], ['Swin-T'])
    assert only == [Cell(Base('MoBY', 'Swin-T'), variant, 0) for variant in ('none', 'single', 'default')]
    one = cells_of(_settings(), ['features'], [0], [], [])
    assert [cell.base for cell in one] == [TINY_BASE] * 3
    assert str(only[0].folder) == 'moby_swin-t/none/seed_0'


def test_cells_of_other_settings_are_not_mixed_in(tmp_path):
    path = tmp_path / 'cell.json'
    assert kept_scores(path, {'epochs': 3}) is None
    path.write_text(json.dumps({'settings': {'epochs': 2}, 'scores': {}}))
    with pytest.raises(ValueError, match='made with epochs=2: name another --work-dir'):
        kept_scores(path, {'epochs': 3})
