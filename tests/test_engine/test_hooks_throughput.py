"""The figures on speed that a run logs."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub

from repre_mm.engine import ThroughputHook
from repre_mm.engine.hooks.throughput import count_images


@pytest.mark.parametrize(
    ('gpu', 'preprocessor', 'named'),
    [
        (True, 'SelfSupDataPreprocessor', True),
        (False, 'SelfSupDataPreprocessor', False),
        (True, 'repre_mm.DeviceAugmentPreprocessor', False),
    ],
)
def test_slow_loader_gets_a_hint_that_names_settings(gpu, preprocessor, named, monkeypatch):
    hub, lines = MessageHub('hint'), []  # not the current one
    hub.update_scalar('train/time', 1.0)
    hub.update_scalar('train/data_time', 0.3)
    runner = SimpleNamespace(
        message_hub=hub,
        cfg=dict(data_preprocessor=dict(type=preprocessor)),
        train_dataloader=SimpleNamespace(num_workers=7),
        iter=0,
        max_iters=10,
        logger=SimpleNamespace(warning=lines.append),
    )
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    hook = ThroughputHook(window=2)
    for index in range(3):
        runner.iter = index
        hook.after_train_iter(runner, index, {'inputs': [torch.zeros(4, 3, 2, 2)]}, {})
    (line,) = lines  # said once
    assert line.startswith('30% of the time goes into waiting for data: raise train_dataloader.num_workers (now 7)')
    assert ('device_augment=True' in line) == named
    assert hub.get_scalar('train/images_per_s').current() == 4.0


def test_images_of_a_batch():
    view = torch.zeros(5, 3, 2, 2)
    assert count_images([view, view]) == 5  # pre-training
    assert count_images(view) == 5  # a classifier
    assert count_images(list(view)) == 5  # a detector: images of different sizes


def test_time_left_leaves_out_the_slow_first_step(monkeypatch):
    hub = MessageHub('time left')
    runner = SimpleNamespace(message_hub=hub, max_iters=100)
    hook = ThroughputHook()
    hub.update_scalar('train/time', 1.0)
    hub.update_scalar('train/data_time', 0.0)
    for runner.iter, now in enumerate((60.0, 62.0, 64.0)):  # 60 s, then 2 s each
        monkeypatch.setattr('repre_mm.engine.hooks.throughput.time.monotonic', lambda now=now: now)
        hook.after_train_iter(runner, runner.iter, {'inputs': torch.zeros(4, 3, 2, 2)}, {})
    assert hub.get_info('eta') == pytest.approx(2 * 97)
