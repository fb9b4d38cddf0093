"""What a training needs, against what a step really keeps and takes."""

import re
from pathlib import Path

import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.tiny import tiny_config
from mmengine.config import Config

from repre_mm.datasets import view_sizes
from repre_mm.engine.cost import LiveMemory, count_cost
from repre_mm.engine.hooks.momentum import take_over_averages
from repre_mm.engine.needs import training_needs
from repre_mm.models.build import build_model

ROOT = Path(__file__).parents[2]
METHODS = ['mocov3', 'dino', 'simclr', 'mocov2', 'moby']


@pytest.mark.parametrize('method', METHODS)
def test_memory_is_what_a_step_takes(method):
    cfg = Config.fromfile(ROOT / f'configs/toy/repre_{method}_vit-tiny_toy.py')
    cost = count_cost(cfg, 4)
    model = build_model(cfg)
    take_over_averages(model)
    weights = [*model.parameters(), *model.buffers()]
    memory = LiveMemory()
    memory.ignore(weights)
    with memory:
        views = [torch.randn(4, 3, size, size) for size in view_sizes(cfg.train_dataloader.dataset.pipeline)]
        loss, _ = model.parse_losses(model(views, None, mode='loss'))
        loss.backward()
    assert cost.step_bytes == pytest.approx(memory.peak, rel=0.05)
    assert cost.weight_bytes == pytest.approx(sum(each.nbytes for each in weights), rel=0.01)
    trained = sum(each.nbytes for each in model.parameters() if each.requires_grad)
    assert cost.state_bytes == pytest.approx(2 * trained, rel=0.01)  # Adam's averages


def test_live_memory():
    memory = LiveMemory()
    inputs = torch.zeros(1000)
    memory.ignore([inputs])
    with memory:
        first = inputs + 1
        view = first[:10]
        del first
        assert memory.live == 4000
        second = inputs.double()
        del view, second
        assert (memory.live, memory.peak) == (0, 12000)


def test_report(tmp_path):
    images = make_image_folder(tmp_path / 'images', train=40)
    cfg = tiny_config(**{'train_dataloader.dataset.root': str(images), 'work_dir': str(tmp_path / 'run')})
    cfg.launcher = 'none'
    report = training_needs(cfg, measure=True)
    assert re.search(r'^  steps +20 \(2 epochs of 10\)$', report, re.MULTILINE)
    assert re.search(r'^  computation +0\.0 G multiply-adds per image, 4 images per process$', report, re.MULTILINE)
    assert re.search(
        r'^  memory +0\.0[56] GiB per process: weights 0\.00, .* for the allocator, and 0\.05 for libraries$',
        report,
        re.MULTILINE,
    )
    assert re.search(r'^  GPU time +H100 1 min, A100 1 min', report, re.MULTILINE)
    assert re.search(r'^  time here +1 min \(0\.\d\d s per step', report, re.MULTILINE)
    assert not (tmp_path / 'run').exists()
    assert cfg.train_cfg.max_epochs == 2


def test_a_model_whose_steps_depend_on_values(tmp_path):
    images = make_image_folder(tmp_path / 'images', train=40)
    cfg = tiny_config(**{'train_dataloader.dataset.root': str(images), 'model.algorithm.type': 'NoSuchMethod'})
    assert re.search(r'^  memory +unknown \(', training_needs(cfg), re.MULTILINE)
