"""Linear evaluation with augmented images: schedules, features, fidelity to plain SGD, resuming, the command."""

import json
import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import SwinTransformer, VisionTransformer
from PIL import Image
from torch import nn

from repre_mm.evaluation import EvaluationError, image_folder_loader, linear_eval
from repre_mm.evaluation.classifiers import LinearClassifiers, count_hits
from repre_mm.evaluation.linear_protocols import PROTOCOLS, features_for, lr_factor

TOOL = Path(__file__).parents[2] / 'tools/linear_eval.py'
CONFIG = """
default_scope = 'mmpretrain'
image_size = 32
data_preprocessor = dict(mean=[120.0, 115.0, 100.0], std=[58.0, 57.0, 56.0])
model = dict(
    type='MoCoV3',
    backbone=dict(
        type='MoCoV3ViT', img_size=32, patch_size=8, drop_path_rate=0.5,
        arch=dict(embed_dims=24, num_layers=4, num_heads=2, feedforward_channels=48)))
"""
COLOURS = {'blue': (30, 30, 220), 'green': (20, 200, 40), 'red': (220, 30, 30)}
QUICK = {'workers': 0, 'progress': False, 'batch_size': 8}


@pytest.fixture(scope='module')
def data_root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('colours')
    random = np.random.default_rng(0)
    for split, count in (('train', 8), ('val', 3)):
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = np.clip(np.array(colour) + random.normal(0, 20, (40, 48, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f'{index}.png')
    return root


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / 'tiny.py'
    path.write_text(CONFIG)
    return path


def test_published_settings():
    mocov3, dino, moby = (PROTOCOLS[name] for name in ('mocov3', 'dino', 'moby'))
    assert (mocov3.epochs, dino.epochs, moby.epochs) == (90, 100, 100)
    # The rates that the published commands end up with, at their batches of 1024, 1024 and 512.
    assert [p.published_lr * p.batch_size / p.lr_batch for p in (mocov3, dino, moby)] == [12.0, 0.004, 1.0]
    assert all(p.published_lr in p.lrs for p in PROTOCOLS.values())


def test_schedules():
    once_per_epoch = [lr_factor(PROTOCOLS['mocov3'], epoch, 5, 10, 90) for epoch in (0, 45, 89)]
    assert once_per_epoch == pytest.approx([1, 0.5, (1 + math.cos(math.pi * 89 / 90)) / 2])
    moby = PROTOCOLS['moby']
    assert [lr_factor(moby, 0, 0, 10, 100), lr_factor(moby, 2, 5, 10, 100)] == pytest.approx([0, 0.5])
    assert lr_factor(moby, 50, 5, 10, 100) == pytest.approx((1 + math.cos(math.pi * 0.505)) / 2)


def test_features_follow_the_encoder():
    arch = {'num_layers': 4, 'num_heads': 2, 'feedforward_channels': 8}
    small, base = (
        VisionTransformer(arch={'embed_dims': width, **arch}, img_size=32, patch_size=16) for width in (384, 768)
    )
    stages = {'embed_dims': 16, 'depths': [1, 1], 'num_heads': [1, 2]}
    swin = SwinTransformer(arch=stages, img_size=32, window_size=4, out_indices=(1,))
    dino, mocov3 = PROTOCOLS['dino'], PROTOCOLS['mocov3']
    assert [features_for(e, dino) for e in (small, base, swin)] == ['class_tokens_4', 'class_and_patches', 'output']
    assert {features_for(e, mocov3) for e in (small, base, swin)} == {'output'}


@pytest.mark.parametrize('nesterov', [False, True])
def test_each_classifier_is_trained_as_one_alone(nesterov):
    generator = torch.Generator().manual_seed(3)
    options = {'device': 'cpu', 'init_std': 0.1, 'nesterov': nesterov, 'weight_decay': 1e-3}
    classifiers = LinearClassifiers(6, 4, (0.1, 1.0), generator=generator, **options)
    start = classifiers.weights[0].detach().clone()
    assert torch.equal(start, classifiers.weights[1])
    assert 0.05 < start.std() < 0.2
    batches = [(torch.randn(8, 6), torch.randint(4, (8,)), factor) for factor in (1.0, 0.6, 0.2)]
    for batch in batches:
        classifiers.step(*batch)
    for index, lr in enumerate((0.1, 1.0)):
        alone = nn.Linear(6, 4)
        with torch.no_grad():
            alone.weight.copy_(start.T)
            alone.bias.zero_()
        groups = [{'params': [alone.weight], 'weight_decay': 1e-3}, {'params': [alone.bias]}]
        optimizer = torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=nesterov)
        for features, labels, factor in batches:
            for group in optimizer.param_groups:
                group['lr'] = lr * factor
            optimizer.zero_grad()
            nn.functional.cross_entropy(alone(features), labels).backward()
            optimizer.step()
        torch.testing.assert_close(classifiers.weights[index].detach(), alone.weight.detach().T)
        torch.testing.assert_close(classifiers.biases[index].detach()[0], alone.bias.detach())


def test_hits():
    logits = torch.tensor([[[3.0, 2, 1], [1, 2, 3]], [[float('nan'), 9, 1], [3, 2, 1]]])  # 2 classifiers, 2 rows
    labels = torch.tensor([1, 2])
    assert count_hits(logits, labels).tolist() == [1, 0]
    assert count_hits(logits, labels, guesses=2).tolist() == [2, 0]


def test_augmented_loader_is_random_by_its_generator_alone(data_root):
    loader = image_folder_loader(data_root, 'train', 32, batch_size=24, workers=1, augment=True)

    def draw(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        loader.generator.manual_seed(seed)
        ((images, labels),) = loader
        return images, labels

    first, again, other = draw(1), draw(1), draw(2)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first[0], other[0])
    assert sorted(first[1].tolist()) == [0] * 8 + [1] * 8 + [2] * 8 != first[1].tolist()


@pytest.mark.parametrize(('protocol', 'width'), [('mocov3', 24), ('dino', 96), ('moby', 24)])
def test_tells_colours_apart(config, data_root, protocol, width):
    result = linear_eval(
        Config.fromfile(config), 'random', data_root, protocol=protocol, epochs=8, lrs=(1e-6, 1.0), **QUICK
    )
    linear = result['linear']
    assert result['feature_width'] == width
    assert linear['protocol'] == f'linear-{protocol}-v1'
    assert linear['top1'] == linear['per_lr'][1.0] > 90
    assert linear['best_lr'] == 1.0
    assert linear['top5'] is None
    assert (linear['settings']['epochs'], linear['settings']['batch_size'], linear['settings']['lrs']) == (
        8,
        8,
        [1e-6, 1],
    )
    json.dumps(result)


def test_goes_on_after_a_stop_as_if_there_had_been_none(config, data_root, tmp_path, monkeypatch):
    cfg = Config.fromfile(config)
    options = {'protocol': 'moby', 'epochs': 3, **QUICK}
    # Rates at which nothing is perfect yet, and weights that show every step.
    finals = []
    step = LinearClassifiers.step

    def stop_at(count: int | None):
        calls = []

        def counting(self, *args):
            if len(calls) == count:
                raise KeyboardInterrupt
            calls.append(None)
            step(self, *args)
            finals.append([w.detach().clone() for w in self.weights])

        monkeypatch.setattr(LinearClassifiers, 'step', counting)
        return calls

    state = tmp_path / 'state.pth'
    stop_at(None)
    whole = linear_eval(cfg, 'random', data_root, **options)
    expected = finals[-1]
    stop_at(5)  # three steps an epoch: in the middle of the second
    with pytest.raises(KeyboardInterrupt):
        linear_eval(cfg, 'random', data_root, state=state, **options)
    assert state.is_file()
    with pytest.raises(EvaluationError, match=r'other settings \(seed, weights\)'):
        linear_eval(cfg, 'random', data_root, state=state, **options, seed=1)
    steps = stop_at(None)
    resumed = linear_eval(cfg, 'random', data_root, state=state, **options)
    assert len(steps) == 6
    torch.testing.assert_close(finals[-1], expected, rtol=0, atol=0)
    assert resumed == whole
    assert not state.exists()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'protocol': 'simclr'}, 'choose from mocov3, dino, moby'),
        ({'protocol': 'dino', 'epochs': 0}, 'epochs=0'),
        ({'protocol': 'dino', 'lrs': (0.1, -1.0)}, 'must be positive'),
        ({'protocol': 'dino', 'data_root': None}, 'no data folder'),
    ],
)
def test_bad_input(config, data_root, options, message):
    with pytest.raises(EvaluationError, match=message):
        linear_eval(Config.fromfile(config), 'random', **{'data_root': data_root, **options})


def test_a_shallow_vit_cannot_give_dino_its_four_tokens(config, data_root):
    cfg = Config.fromfile(config)
    cfg.model.backbone.arch.num_layers = 3
    with pytest.raises(EvaluationError, match='4 blocks with class tokens'):
        linear_eval(cfg, 'random', data_root, protocol='dino', **QUICK)


@pytest.mark.parametrize('protocol', ['mocov3', 'cached'])
def test_command(monkeypatch, capsys, config, data_root, tmp_path, protocol):
    out = tmp_path / 'linear.json'
    arguments = ['--protocol', protocol, '--data', data_root, '--epochs', 2, '--lrs', 0.1, '--out', out]
    arguments += ['--workers', 0, '--device', 'cpu', '--batch-size', 8]
    monkeypatch.setattr(sys, 'argv', ['linear_eval.py', *map(str, (config, 'random', *arguments))])
    runpy.run_path(str(TOOL), run_name='__main__')
    result = json.loads(out.read_text())
    assert result['linear']['protocol'] == f'linear-{protocol}-v1'
    assert result['linear']['settings']['epochs'] == 2
    assert f'top1 {result["linear"]["top1"]:7.2f}' in capsys.readouterr().out
    assert str(tmp_path) not in out.read_text()
    assert [path.name for path in tmp_path.iterdir() if 'state' in path.name] == []
