"""What a run logs arrives at TensorBoard, W&B and MLflow; a full disk or a failing logger does not end it."""

import errno
import json
import resource
from contextlib import suppress

import numpy as np
import pytest
from fixtures.data import make_image_folder
from fixtures.resuming import make_runner
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.visualization import LocalVisBackend as UpstreamLocalVisBackend

from repre_mm.engine import LocalVisBackend
from repre_mm.engine.resilience.vis_backend import LOGGERS, add_loggers
from repre_mm.registry import VISBACKENDS
from repre_mm.utils.errors import UserError


def test_failed_writes_are_reported_once_in_a_row(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(MMLogger, 'warning', lambda logger, text: warnings.append(text))
    backend = LocalVisBackend(str(tmp_path))
    real = UpstreamLocalVisBackend._dump
    full = iter((False, True, True, False, True))

    def dump(*args, **kwargs):
        if next(full):
            raise OSError(errno.ENOSPC, 'No space left on device')
        real(*args, **kwargs)

    monkeypatch.setattr(UpstreamLocalVisBackend, '_dump', dump)
    for step in range(5):
        backend.add_scalar('loss', float(step), step)
    assert [text.split(':')[0] for text in warnings] == ['could not log numbers'] * 2
    lines = [json.loads(line) for line in (tmp_path / 'scalars.json').read_text().splitlines()]
    assert [line['step'] for line in lines] == [0, 3]


def test_other_errors_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(UpstreamLocalVisBackend, '_dump', lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        LocalVisBackend(str(tmp_path)).add_scalar('loss', 1.0, 0)


def backend(name, tmp_path):
    cfg = Config()
    pytest.importorskip(name, reason=f'{name} is not installed: pip install repre_mm[loggers]')
    add_loggers(cfg, [name])
    return VISBACKENDS.build(dict(cfg.visualizer.vis_backends[-1], save_dir=str(tmp_path)))


def read_tensorboard(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next(run.glob('*/vis_data'))))
    events.Reload()
    scalars = {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()['scalars']}
    return scalars, [image.step for image in events.Images('reconstructions')]


def read_wandb(run):
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal.datastore import DataStore

    store, scalars, images = DataStore(), {}, []
    store.open_for_scan(str(next(run.glob('*/vis_data/wandb/offline-run-*/*.wandb'))))
    while data := store.scan_data():
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for item in record.history.item:
            name = item.key or '/'.join(item.nested_key)
            if 'reconstructions' in name:
                images.append(name)
            else:
                scalars.setdefault(name, []).append(json.loads(item.value_json))
    return scalars, images


def read_mlflow(run):
    folder = next(path.parent for path in run.glob('*/vis_data/*/*/metrics'))
    metrics = {
        str(path.relative_to(folder / 'metrics')): path for path in (folder / 'metrics').rglob('*') if path.is_file()
    }
    scalars = {
        name: [float(line.split()[1]) for line in path.read_text().splitlines()] for name, path in metrics.items()
    }
    return scalars, sorted((folder / 'artifacts' / 'reconstructions').glob('*.png'))


@pytest.mark.parametrize('name', LOGGERS)
def test_a_run_is_read_back(name, tmp_path, monkeypatch):
    """Losses, weights, the score of an epoch and pictures of reconstructions arrive."""
    pytest.importorskip(name, reason=f'{name} is not installed: pip install repre_mm[loggers]')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    cfg = Config(
        dict(visualizer=dict(type='UniversalVisualizer', vis_backends=[dict(type='repre_mm.LocalVisBackend')]))
    )
    add_loggers(cfg, [name])
    images = make_image_folder(tmp_path / 'images')
    run = tmp_path / 'run'
    options = {
        'visualizer': cfg.visualizer.to_dict(),
        'default_hooks.reconstruction': dict(type='repre_mm.ReconstructionHook'),
        'default_hooks.probe': dict(type='repre_mm.OnlineProbeHook'),
        'train_cfg.max_epochs': 1,
    }
    make_runner(images, run, **options).train()
    if name == 'wandb':
        import wandb

        wandb.finish()
    scalars, pictures = globals()[f'read_{name}'](run)
    lines = [json.loads(line) for line in next(run.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    for key in ('contrast', 'recon_l1', 'weight_contrast', 'weight_recon', 'probe_top1', 'probe/epoch_top1'):
        assert scalars[key] == pytest.approx([line[key] for line in lines if key in line], rel=1e-5)
    assert pictures and sorted(path.name for path in (run / 'reconstructions').iterdir()) == [
        'iter_1.png',
        'iter_4.png',
    ]


@pytest.mark.parametrize('name', LOGGERS)
def test_a_failing_logger_is_one_warning(name, tmp_path, monkeypatch):
    made = backend(name, tmp_path)
    warnings = []
    monkeypatch.setattr(MMLogger, 'warning', lambda logger, text: warnings.append(text))
    upstream = type(made).__mro__[1]

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, 'No space left on device')

    for method in ('_init_env', 'close'):
        monkeypatch.setattr(upstream, method, full)
    for step in range(3):
        made.add_scalars({'loss': 1.0}, step)
        made.add_image('reconstructions', np.zeros((4, 4, 3), np.uint8), step)
    made.close()
    assert len(warnings) == 1 and 'No space left' in warnings[0] and 'Training goes on' in warnings[0]


@pytest.mark.parametrize('name', ['tensorboard', 'mlflow'])
def test_a_full_disk_is_one_warning(name, tmp_path, monkeypatch):
    """Files of this process cannot grow above 2 kB for a while."""
    made = backend(name, tmp_path)
    warnings = []
    monkeypatch.setattr(MMLogger, 'warning', lambda logger, text: warnings.append(text))
    made.add_scalars({'loss': 1.0}, 0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        for step in range(200):
            made.add_scalars({'loss': 1.0, 'weight': 2.0}, step)
            if name == 'tensorboard' and step % 50 == 0:
                with suppress(OSError):
                    made.experiment.flush()
        made.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(warnings) == 1 and 'File too large' in warnings[0]


def test_a_missing_package_is_one_error(monkeypatch):
    monkeypatch.setattr('repre_mm.engine.resilience.vis_backend.find_spec', lambda name: None)
    with pytest.raises(UserError, match='--logger wandb: not installed'):
        add_loggers(Config(), ['wandb'])
