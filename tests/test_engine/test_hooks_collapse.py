"""Measures of a collapse, and warnings: once per collapse, none for a healthy model."""

from types import SimpleNamespace

import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.methods import tiny_method
from fixtures.resuming import make_runner
from mmengine.hooks import Hook
from mmengine.registry import MODELS, DefaultScope
from torch.nn import functional as F

from repre_mm.engine import CollapseHook
from repre_mm.engine.hooks.collapse import effective_rank, embedding_std


def test_std_is_that_of_unit_vectors():
    x = torch.randn(6, 4)
    unit = x / x.pow(2).sum(1, keepdim=True).sqrt()
    expected = ((unit - unit.mean(0)) ** 2).mean(0).sqrt().mean() * 2
    torch.testing.assert_close(torch.tensor(embedding_std(x)), expected)
    assert embedding_std(torch.ones(6, 4) * torch.rand(6, 1)) < 1e-6
    assert embedding_std(torch.randn(10000, 64)) == pytest.approx(1, abs=0.02)


def test_rank_is_rankme():
    x = torch.randn(6, 4)
    singular = torch.linalg.eigvalsh(F.normalize(x).double().T @ F.normalize(x).double()).sqrt()
    p = singular / singular.sum()
    torch.testing.assert_close(effective_rank(x), (-(p * p.log()).sum()).exp().item(), rtol=1e-4, atol=1e-4)
    assert effective_rank(torch.eye(5)) == pytest.approx(5)
    assert effective_rank(torch.ones(6, 4) * torch.tensor([[1.0], [-1], [2], [3], [4], [5]])) == pytest.approx(
        1, abs=1e-3
    )
    assert effective_rank(torch.zeros(6, 4)) == 0


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp('images'), train=16)


class Zero(Hook):
    """Let a projector give every image the same, in some iterations (from 1)."""

    priority = 'VERY_HIGH'

    def __init__(self, module: str, iterations: range) -> None:
        self.module, self.iterations = module, iterations

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        def zero(module, args, output):
            outputs = output if isinstance(output, tuple) else (output,)
            same = tuple(each * 0 + 1 for each in outputs)
            return same if isinstance(output, tuple) else same[0]

        self.handle = runner.model.get_submodule(self.module).register_forward_hook(zero)
        if runner.iter + 1 not in self.iterations:
            self.handle.remove()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.handle.remove()


def train(images, work_dir, method, *hooks):
    watch = dict(type='repre_mm.CollapseHook', interval=1, begin=2, patience=2)
    options = {
        'model': dict(tiny_method(method, 'vit', repre=True), _delete_=True),
        'default_hooks.collapse': watch,
        'train_dataloader.batch_size': 4,
    }
    if method == 'dino':
        options['default_hooks.dino'] = dict(type='repre_mm.DINOHook')
    runner = make_runner(images, work_dir, **options)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner, next(work_dir.glob('*/*.log')).read_text()


def test_a_healthy_run_logs_and_is_not_warned(images, tmp_path):
    runner, log = train(images, tmp_path, 'dino')
    for name in ('embedding_std', 'effective_rank'):
        values = torch.tensor(runner.message_hub.get_scalar(f'train/{name}').data[0])
        assert len(values) == 8 and values.isfinite().all()
        assert f'{name}: ' in log
    assert 'collapsed' not in log


def test_a_collapsed_run_is_warned_once_per_time(images, tmp_path):
    """Collapsed in iterations 2 to 4 and 6 to 7; two bad looks in a row warn."""
    _, log = train(images, tmp_path, 'mocov3', Zero('algorithm.neck', range(2, 5)), Zero('algorithm.neck', range(6, 8)))
    warnings = [line for line in log.splitlines() if 'the embeddings have collapsed' in line]
    assert [line.split('iteration ')[1][0] for line in warnings] == ['3', '7']
    assert 'Lower the learning rate' in warnings[0]


def test_a_classifier_is_left_alone():
    cfg = dict(
        type='ImageClassifier',
        backbone=dict(type='ResNet', depth=18),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=2, in_channels=512),
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg)
    hook = CollapseHook(interval=1)
    hook.before_train_iter(SimpleNamespace(model=model, iter=0), 0)
    assert hook._handle is None
