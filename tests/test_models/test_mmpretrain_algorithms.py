"""Belongs to docs/algorithms.md: what RePre does with each self-supervised algorithm of mmpretrain."""

import re
from pathlib import Path

import pytest
import torch
from mmpretrain.models import selfsup
from mmpretrain.models.selfsup import BaseSelfSupervisor
from torch.testing import assert_close

from repre_mm.models import RePreAlgorithm

PAGE = (Path(__file__).parents[2] / 'docs/algorithms.md').read_text()
PREPROCESSOR = dict(type='SelfSupDataPreprocessor', mean=[120.0] * 3, std=[60.0] * 3)
RESNET = dict(type='ResNet', depth=18, norm_cfg=dict(type='BN'))
BN = dict(type='BN1d')
MLP = dict(type='NonLinearNeck', in_channels=512, hid_channels=8, out_channels=8, num_layers=2, norm_cfg=BN)
SMALL_VIT = dict(embed_dims=48, num_layers=4, num_heads=4, feedforward_channels=96)
# Those that the configs here do not use: tests/test_models/test_repre_methods.py has the others.
CONTRASTIVE = {
    'BarlowTwins': dict(
        neck=MLP, head=dict(type='LatentCrossCorrelationHead', in_channels=8, loss=dict(type='CrossCorrelationLoss'))
    ),
    'DenseCL': dict(
        neck=dict(type='DenseCLNeck', in_channels=512, hid_channels=8, out_channels=8, num_grid=None),
        head=dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=0.2),
        queue_len=8,
        feat_dim=8,
    ),
    'SwAV': dict(
        neck=dict(type='SwAVNeck', in_channels=512, hid_channels=8, out_channels=8, norm_cfg=BN),
        head=dict(
            type='SwAVHead',
            loss=dict(type='SwAVLoss', feat_dim=8, num_prototypes=4, num_crops=[2], crops_for_assign=[0, 1]),
        ),
    ),
}
MASKED = {
    'MAE': dict(
        backbone=dict(type='MAEViT', arch=SMALL_VIT, img_size=32, patch_size=8),
        neck=dict(
            type='MAEPretrainDecoder',
            num_patches=16,
            patch_size=8,
            embed_dim=48,
            decoder_embed_dim=16,
            decoder_depth=1,
            decoder_num_heads=2,
        ),
        head=dict(type='MAEPretrainHead', patch_size=8, loss=dict(type='PixelReconstructionLoss', criterion='L2')),
    ),
    'BEiT': dict(backbone=dict(type='BEiTPretrainViT', arch=SMALL_VIT, img_size=32, patch_size=8, out_indices=[-1])),
}


def rows() -> dict[str, str]:
    return dict(re.findall(r'^\| (\w+) \| (works|refused)', PAGE, re.MULTILINE))


def test_the_page_has_every_algorithm_of_mmpretrain():
    classes = [value for value in vars(selfsup).values() if isinstance(value, type)]
    names = {cls.__name__ for cls in classes if issubclass(cls, BaseSelfSupervisor) and cls is not BaseSelfSupervisor}
    assert set(rows()) == names
    assert {name for name, verdict in rows().items() if verdict == 'works'} >= set(CONTRASTIVE)
    assert {name for name, verdict in rows().items() if verdict == 'refused'} >= set(MASKED)


@pytest.mark.parametrize('name', CONTRASTIVE)
def test_one_step_of_what_works(name):
    algorithm = dict(type=name, backbone=RESNET, data_preprocessor=PREPROCESSOR, **CONTRASTIVE[name])
    model = RePreAlgorithm(algorithm, loss_weighting=dict(type='FixedWeighting', contrast=1.0, recon=2.0))
    out = model([torch.randn(4, 3, 64, 64), torch.randn(4, 3, 64, 64)], None, mode='loss')
    assert_close(out['loss'], out['contrast'] + 2 * out['recon_l1'])
    total, logged = model.parse_losses(out)
    assert total is out['loss'] and logged['loss'] == total
    own = {key: value for key, value in out.items() if 'loss' in key and key != 'loss'}
    assert set(own) == ({'loss_single', 'loss_dense'} if name == 'DenseCL' else set())  # handed on for the log
    if own:
        assert_close(sum(own.values()), out['contrast'])
    total.backward()
    assert model.backbone.conv1.weight.grad.abs().max() > 0
    assert model.repre_neck.training and all(p.grad is not None for p in model.repre_decoder.parameters())


def test_public_attributes_of_the_algorithm_are_handed_on():
    algorithm = dict(type='DenseCL', backbone=RESNET, data_preprocessor=PREPROCESSOR, **CONTRASTIVE['DenseCL'])
    model = RePreAlgorithm(algorithm)
    assert model.queue.shape == model.queue2.shape == (8, 8)
    with pytest.raises(AttributeError, match='nothing_like_it'):
        _ = model.nothing_like_it


@pytest.mark.parametrize('name', MASKED)
def test_masked_images_are_refused(name):
    algorithm = dict(type=name, data_preprocessor=PREPROCESSOR, **MASKED[name])
    with pytest.raises(TypeError, match=r'MAE got one tensor, not a list of views|know the levels of BEiTPretrainViT'):
        RePreAlgorithm(algorithm)(torch.randn(2, 3, 32, 32), None, mode='loss')
