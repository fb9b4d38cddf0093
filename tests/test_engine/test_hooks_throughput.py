"""The figures on speed that a run logs."""

from types import SimpleNamespace

import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.resuming import make_runner
from mmengine.logging import MessageHub
from torch._dynamo.utils import counters
from torch.nn.attention import SDPBackend, sdpa_kernel

from repre_mm.engine.cost import count_cost, peak_tflops
from repre_mm.engine.hooks import ThroughputHook
from repre_mm.engine.hooks.throughput import count_images

BATCH, PEAK = 4, 1e-3  # images; TFLOP/s of an imagined device


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp('images'))


def train(images, work_dir, **options):
    hook = dict(type='repre_mm.ThroughputHook', window=3, peak=PEAK)
    options = {'train_dataloader.batch_size': BATCH, 'default_hooks.throughput': hook, **options}
    # What the counter does not know, kernels of CPUs, is off; it is for GPUs.
    options['default_hooks.step.linear'] = False
    runner = make_runner(images, work_dir, train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=2), **options)
    with sdpa_kernel(SDPBackend.MATH):
        runner.train()
    return runner


@pytest.mark.parametrize('compiled', [False, dict(backend='eager')])
def test_peak_share_is_that_of_the_counted_step(images, tmp_path, compiled):
    torch._dynamo.reset()
    counters.clear()
    runner = train(images, tmp_path, **{'default_hooks.step.compile': compiled})
    assert bool(counters['stats']['unique_graphs']) == bool(compiled)  # after the counted step, which is not compiled
    seconds = torch.as_tensor(runner.message_hub.get_scalar('train/time').data[0])
    shares = torch.as_tensor(runner.message_hub.get_scalar('train/peak_share').data[0])
    assert len(seconds) == len(shares) == 4
    flops = 2 * count_cost(runner.cfg, BATCH).step_macs * BATCH
    window = torch.stack([seconds[max(0, i - 2) : i + 1].mean() for i in range(4)])
    torch.testing.assert_close(shares, flops / window / (PEAK * 1e12), rtol=1e-6, atol=0)
    assert 'train_step' not in vars(runner.model)  # counted once


def test_without_a_gpu_no_share_is_logged(images, tmp_path):
    if torch.cuda.is_available():
        pytest.skip('there is a GPU here')
    runner = train(images, tmp_path, **{'default_hooks.throughput.peak': None})
    assert 'train/images_per_s' in runner.message_hub.log_scalars
    assert 'train/peak_share' not in runner.message_hub.log_scalars


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


@pytest.mark.parametrize(
    ('name', 'peak'),
    [
        ('NVIDIA H100 80GB HBM3', 989.0),
        ('NVIDIA H100 PCIe', 756.0),
        ('NVIDIA A100-SXM4-80GB', 312.0),
        ('NVIDIA A10', 125.0),
        ('NVIDIA A10G', None),
        ('NVIDIA GeForce RTX 4090 Laptop GPU', None),
        ('AMD Instinct MI300X', 1307.0),
    ],
)
def test_peak_by_name(name, peak):
    assert peak_tflops(name) == peak


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
