"""A run that is stopped anywhere and resumed ends like one that was not, bit by bit; hooks by name."""

from pathlib import Path

import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.resuming import CrashAt, SimulatedCrashError, assert_same_end, make_runner
from fixtures.torchrun import run_on_two_ranks
from mmengine.config import Config
from mmengine.hooks import Hook

from repre_mm.checkpoint import CheckpointError, read_checkpoint
from repre_mm.engine import (
    MomentumUpdateHook,
    OnlineKNNHook,
    ReconstructionHook,
    StopSignalHook,
    ThroughputHook,
    WatchdogHook,
    WeightingGuardHook,
)
from repre_mm.models.selfsup import CosineEMA
from repre_mm.utils.stack import find_family

ROOT = Path(__file__).parents[2]
EVERY_2 = {'default_hooks.checkpoint.by_epoch': False, 'default_hooks.checkpoint.interval': 2}
WITH_WORKERS = {'train_dataloader.num_workers': 2, 'train_dataloader.persistent_workers': True}


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp('images'))


def stop_and_go(images, work_dir, crash_at, **options):
    """Crash at an iteration (from 1), then resume."""
    runner = make_runner(images, work_dir, **options)
    runner.register_hook(CrashAt(crash_at))
    with pytest.raises(SimulatedCrashError):
        runner.train()
    resumed = make_runner(images, work_dir, resume=True, **options)
    resumed.train()
    return resumed


@pytest.fixture(scope='module')
def uninterrupted(images, tmp_path_factory):
    """The work dir of a run of two epochs of four batches, saved every two iterations."""
    torch.set_num_threads(1)
    work_dir = tmp_path_factory.mktemp('uninterrupted')
    make_runner(images, work_dir, **EVERY_2).train()
    return work_dir


def test_resumed_in_mid_epoch(images, tmp_path, uninterrupted):
    resumed = stop_and_go(images, tmp_path, 8, **EVERY_2)  # goes on from iteration 6, in the middle of epoch 2
    assert (resumed.iter, resumed.epoch) == (8, 2)
    assert_same_end(uninterrupted, tmp_path, 'iter_8.pth')


def test_resumed_at_the_end_of_an_epoch(images, tmp_path, uninterrupted):
    stop_and_go(images, tmp_path, 6, **EVERY_2)
    assert_same_end(uninterrupted, tmp_path, 'iter_8.pth')


@pytest.mark.slow
def test_resumed_with_workers_in_bf16(images, tmp_path):
    options = dict(amp=True, **EVERY_2, **WITH_WORKERS)
    make_runner(images, tmp_path / 'whole', **options).train()
    stop_and_go(images, tmp_path / 'parts', 4, **options)
    assert_same_end(tmp_path / 'whole', tmp_path / 'parts', 'iter_8.pth')


@pytest.mark.slow
def test_workers_change_nothing(images, tmp_path, uninterrupted):
    make_runner(images, tmp_path, **EVERY_2, **WITH_WORKERS).train()
    assert_same_end(uninterrupted, tmp_path, 'iter_8.pth')


def test_resumed_with_gradient_accumulation(images, tmp_path):
    """Epochs of 4, an update every 3: the first epoch's checkpoint is that of iteration 6, the second's of the end."""
    options = {'optim_wrapper.accumulative_counts': 3}
    make_runner(images, tmp_path / 'whole', **options).train()
    assert read_checkpoint(tmp_path / 'whole/epoch_1.pth')['meta']['iter'] == 6
    stop_and_go(images, tmp_path / 'parts', 8, **options)
    assert_same_end(tmp_path / 'whole', tmp_path / 'parts')


def test_resumed_in_an_iteration_loop(images, tmp_path):
    """Of 8 iterations on a finite sampler, which starts its second pass at the fifth."""
    options = {
        **EVERY_2,
        'train_cfg': dict(type='IterBasedTrainLoop', max_iters=8, val_interval=100),
        'param_scheduler': [dict(type='CosineAnnealingLR', by_epoch=False, end=8)],
    }
    make_runner(images, tmp_path / 'whole', **options).train()
    stop_and_go(images, tmp_path / 'parts', 8, **options)
    assert_same_end(tmp_path / 'whole', tmp_path / 'parts', 'iter_8.pth')


def test_a_drawn_seed_is_kept(images, tmp_path):
    options = {**EVERY_2, 'randomness.seed': None}
    stop_and_go(images, tmp_path / 'parts', 4, **options)
    seed = read_checkpoint(tmp_path / 'parts/iter_4.pth')['meta']['seed']
    make_runner(images, tmp_path / 'whole', **EVERY_2, **{'randomness.seed': seed}).train()
    assert_same_end(tmp_path / 'whole', tmp_path / 'parts', 'iter_8.pth')


def test_another_batch_size_starts_the_epoch_again(images, tmp_path):
    runner = make_runner(images, tmp_path, **EVERY_2)
    runner.register_hook(CrashAt(4))
    with pytest.raises(SimulatedCrashError):
        runner.train()
    options = {**EVERY_2, 'train_dataloader.batch_size': 4}
    resumed = make_runner(images, tmp_path, resume=True, **options)
    batches = []

    class Count(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            batches.append((runner.epoch, batch_idx))

    resumed.register_hook(Count())
    resumed.train()
    assert batches == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert (
        'an epoch has 2 batches now and had 4'
        in next(tmp_path.glob('*/*.log'))
        .parent.parent.joinpath(resumed.timestamp, f'{resumed.timestamp}.log')
        .read_text()
    )


class Evil:
    def __reduce__(self):
        return (exec, ("raise RuntimeError('code from the file was run')",))


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.parametrize('stop', ['crash', 'signal'])
def test_two_ranks_end_alike(stop, tmp_path):
    """Nine iterations in epochs of three, an update every two.

    Rank 1 alone is signalled in iteration 5; both stop there. Or both crash after the checkpoint of iteration 4.
    """
    images = make_image_folder(tmp_path / 'images', train=12)
    for work_dir, how in (('whole', 'none'), ('parts', stop), ('parts', 'resume')):
        run_on_two_ranks('-m', 'fixtures.ranks', 'resuming', images, tmp_path / work_dir, how)
    if stop == 'signal':
        assert read_checkpoint(tmp_path / 'parts/stopped.pth')['meta']['iter'] == 6
    assert_same_end(tmp_path / 'whole', tmp_path / 'parts', 'iter_9.pth')


@pytest.mark.parametrize('how', ['resume', 'load_from', 'init_cfg'])
def test_nothing_is_unpickled(how, images, tmp_path):
    path = tmp_path / 'evil.pth'
    torch.save({'state_dict': {}, 'optimizer': {}, 'meta': {'iter': 2, 'epoch': 0}, 'evil': Evil()}, path)
    with pytest.raises(
        CheckpointError, match=r'refused to read .*evil\.pth: besides tensors it holds builtins|no checkpoint is sound'
    ):
        if how == 'resume':
            make_runner(images, tmp_path, resume=True).train()
        elif how == 'load_from':
            make_runner(images, tmp_path, load_from=str(path)).train()
        else:
            init = dict(type='Pretrained', checkpoint=str(path))
            make_runner(images, tmp_path, **{'model.algorithm.backbone.init_cfg': init}).train()


def test_weights_only_are_no_resume_point(images, tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save({'state_dict': {}}, path)
    with pytest.raises(CheckpointError, match=r'cannot resume from .*weights\.pth: it holds weights only'):
        make_runner(images, tmp_path, resume=True, load_from=str(path))


def test_default_hooks_are_changed_by_name(tmp_path):
    images = make_image_folder(tmp_path / 'images')
    options = {'default_hooks.knn': dict(type='repre_mm.OnlineKNNHook'), 'default_hooks.knn.interval': 7}
    runner = make_runner(images, tmp_path / 'run', **options, **{'default_hooks.watchdog': None})
    hooks = {type(hook): hook for hook in runner.hooks}
    assert hooks[OnlineKNNHook].interval == 7
    assert {MomentumUpdateHook, WeightingGuardHook, ThroughputHook, StopSignalHook} <= hooks.keys()
    assert WatchdogHook not in hooks and ReconstructionHook not in hooks
    assert len(hooks) == len(runner.hooks)


def test_custom_hooks_of_older_configs_run_once(tmp_path):
    images = make_image_folder(tmp_path / 'images')
    # OpenMMLab's own mmengine cannot print a config that holds a class.
    guard = WeightingGuardHook if find_family() == 'onedl' else 'repre_mm.WeightingGuardHook'
    old = [
        dict(type='repre_mm.MomentumUpdateHook'),
        dict(type='repre_mm.ReconstructionHook', interval=7),
        dict(type=guard, interval=3),
    ]
    runner = make_runner(images, tmp_path / 'run', custom_hooks=old)
    kinds = [type(hook) for hook in runner.hooks]
    assert len(set(kinds)) == len(kinds)
    hooks = dict(zip(kinds, runner.hooks, strict=True))
    assert hooks[ReconstructionHook].interval == 7 and hooks[WeightingGuardHook].interval == 3
    runner.train()
    target = next(module for module in runner.model.modules() if isinstance(module, CosineEMA))
    assert target.steps == runner.max_iters


DOWNSTREAM = [*ROOT.glob('configs/finetune/*.py'), *ROOT.glob('configs/transfer/*/*.py')]


@pytest.mark.parametrize('path', DOWNSTREAM, ids=lambda path: path.name)
def test_downstream_trainings_survive_the_same_faults(path):
    cfg = Config.fromfile(path)
    kinds = {hook['type'] for hook in cfg.default_hooks.values()}
    assert {f'repre_mm.{name}Hook' for name in ('SafeCheckpoint', 'StopSignal', 'NonFinite', 'Watchdog')} <= kinds
    assert 'repre_mm.CollapseHook' not in kinds
    assert [backend.type for backend in cfg.vis_backends] == ['repre_mm.LocalVisBackend']
