"""Learning rates by depth: mmpretrain's rule, and the log-variances keep their own."""

import pytest
import torch
from fixtures.models import ENCODERS, mocov3
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS

from repre_mm.engine.optim.layer_decay import layer_depths
from repre_mm.models.backbones import TimmBackbone


def test_depths_are_mmpretrains(encoder_name):
    backbone = MODELS.build(ENCODERS[encoder_name][0])
    depths = layer_depths(backbone)
    for name, parameter in backbone.named_parameters():
        assert depths[parameter] == backbone.get_layer_depth(name)[0], name


def test_depths_of_a_timm_encoder():
    backbone = TimmBackbone('vit_tiny_patch16_224', depth=2, embed_dim=12, num_heads=2)
    depths = layer_depths(backbone)
    found = {name: depths[parameter] for name, parameter in backbone.model.named_parameters()}
    assert found['cls_token'] == found['patch_embed.proj.weight'] == 0
    assert (found['blocks.0.attn.qkv.weight'], found['blocks.1.mlp.fc2.bias'], found['norm.weight']) == (1, 2, 3)


def build(**paramwise) -> tuple[torch.nn.Module, dict[str, dict]]:
    """A model, and the group of each of its parameters."""
    model = MODELS.build(dict(type='repre_mm.RePreAlgorithm', algorithm=mocov3(ENCODERS['vit'][0])))
    model.algorithm.backbone.pos_embed.requires_grad = False
    weighting = {'loss_weighting': dict(lr_mult=5.0, decay_mult=0.0)}
    cfg = dict(
        constructor='repre_mm.LayerDecayConstructor',
        optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.2),
        paramwise_cfg=dict(custom_keys=weighting, flat_decay_mult=0.0, **paramwise),
    )
    groups = {id(group['params'][0]): group for group in build_optim_wrapper(model, cfg).param_groups}
    return model, {name: groups.get(id(parameter)) for name, parameter in model.named_parameters()}


def test_rates_of_a_pretraining():
    _, groups = build(layer_decay_rate=0.5)
    blocks = 'algorithm.backbone.layers'
    expected = {
        'algorithm.backbone.patch_embed.projection.weight': 0.1 * 0.5**7,
        f'{blocks}.0.attn.qkv.weight': 0.1 * 0.5**6,
        f'{blocks}.5.ffn.layers.1.weight': 0.1 * 0.5,
        'algorithm.backbone.ln1.weight': 0.1,
        'algorithm.neck.fc0.weight': 0.1,
        'loss_weighting.log_vars': 0.5,
    }
    for name, rate in expected.items():
        assert groups[name]['lr'] == pytest.approx(rate), name
    assert groups['loss_weighting.log_vars']['weight_decay'] == 0
    assert groups[f'{blocks}.0.attn.qkv.weight']['weight_decay'] == 0.2
    assert groups[f'{blocks}.0.attn.qkv.bias']['weight_decay'] == 0
    assert groups['algorithm.backbone.pos_embed'] is None  # frozen


@pytest.mark.parametrize('paramwise', [{}, {'layer_decay_rate': 0}, {'layer_decay_rate': 1.5}])
def test_rate_must_be_given(paramwise):
    with pytest.raises(ValueError, match=r'layer_decay_rate=.* must lie in \(0, 1\]'):
        build(**paramwise)
