"""Parameters split over two ranks, against one process that has them whole."""

from pathlib import Path

import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.methods import METHODS
from fixtures.models import ENCODERS
from fixtures.rank_steps import build, make_batches, train
from fixtures.torchrun import run_on_two_ranks
from mmpretrain.registry import MODELS
from torch import nn

from repre_mm.checkpoint import read_checkpoint
from repre_mm.distributed import FullyShardedDataParallel


@pytest.fixture(scope='module')
def out(tmp_path_factory) -> Path:
    """Where two ranks of ``fixtures.ranks.sharding`` left their results."""
    out = tmp_path_factory.mktemp('ranks')
    images = make_image_folder(out / 'images', train=16)
    run_on_two_ranks('-m', 'fixtures.ranks', 'sharding', out, images)
    return out


def assert_same(ours: dict, theirs: dict, **tolerance) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], msg=lambda text, name=name: f'{name}: {text}', **tolerance)


@pytest.mark.dist
@pytest.mark.parametrize('method', METHODS)
def test_split_parameters_train_as_whole_ones(out, method):
    """Losses' gradients, weights, targets, queues, centres and statistics, after two steps; half a model per rank."""
    alone = train(build(method, repre=True), make_batches(method))
    ranks = [torch.load(out / f'rank{rank}.pt')[method] for rank in range(2)]
    for rank in ranks:
        assert rank.pop('share') < 0.52
        assert_same(rank, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.dist
def test_resumed_run_is_the_straight_one(out):
    straight, resumed = (read_checkpoint(out / name / 'epoch_2.pth') for name in ('straight', 'stopped'))
    assert_same(straight['state_dict'], resumed['state_dict'], rtol=0, atol=0)
    for index, state in straight['optimizer']['state'].items():
        assert_same(state, resumed['optimizer']['state'][index], rtol=0, atol=0)
    assert len(list((out / 'stopped' / 'reconstructions').glob('*.png'))) >= 2


@pytest.mark.dist
def test_checkpoint_holds_whole_tensors_under_the_usual_keys(out):
    checkpoint = out / 'straight' / 'epoch_2.pth'
    encoder = MODELS.build(
        dict(
            type='MoCoV3ViT',
            arch=dict(embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=64),
            img_size=32,
            patch_size=8,
            init_cfg=dict(type='Pretrained', checkpoint=str(checkpoint), prefix='backbone.'),
        )
    )
    encoder.init_weights()
    weights = read_checkpoint(checkpoint)['state_dict']
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, weights[f'backbone.{name}']), name


def test_needs_several_processes():
    with pytest.raises(RuntimeError, match=r'start them with tools/dist_train\.sh'):
        FullyShardedDataParallel(MODELS.build(ENCODERS['vit'][0]))


def test_what_cannot_be_split_is_named(monkeypatch):
    monkeypatch.setattr('torch.distributed.is_initialized', lambda: True)
    model = MODELS.build(ENCODERS['vit'][0])
    model.temperature = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(ValueError, match='temperature is a single number'):
        FullyShardedDataParallel(model)
    with pytest.raises(ValueError, match=r'no block of the encoder is one of Layer.*model_wrapper_cfg\.blocks'):
        FullyShardedDataParallel(MODELS.build(ENCODERS['vit'][0]), blocks=['Layer'])
