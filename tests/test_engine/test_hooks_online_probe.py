"""The online probe learns beside the training, changes nothing of it, and resumes with it."""

import copy
import json
from contextlib import suppress

import pytest
import torch
from fixtures.comparison import training_differences
from fixtures.data import make_image_folder
from fixtures.methods import tiny_algorithm
from fixtures.resuming import CrashAt, SimulatedCrashError, make_runner
from fixtures.torchrun import run_on_two_ranks
from PIL import Image

from repre_mm.checkpoint import read_checkpoint
from repre_mm.datasets import DatasetError
from repre_mm.engine import OnlineProbeHook
from repre_mm.models.taps import pooled
from repre_mm.utils.errors import UserError

PROBE = {'default_hooks.probe': dict(type='repre_mm.OnlineProbeHook', lr=0.05)}


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp('probe') / 'data')


def scalars(work_dir):
    texts = [path.read_text() for path in sorted(work_dir.glob('*/vis_data/scalars.json'))]
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    return [line['probe/epoch_top1'] for line in lines if 'probe/epoch_top1' in line]


def test_it_changes_no_bit_of_the_training_and_learns(images, tmp_path):
    make_runner(images, tmp_path / 'without').train()
    runner = make_runner(images, tmp_path / 'with', **PROBE)
    runner.train()
    without, with_probe = (read_checkpoint(tmp_path / name / 'epoch_2.pth') for name in ('without', 'with'))
    log = with_probe['message_hub']['log_scalars']
    assert len(log.pop('train/probe_top1').data[0]) == 8
    del log['probe/epoch_top1']
    assert training_differences(without, with_probe) == []
    curve = scalars(tmp_path / 'with')
    assert len(curve) == 2 and curve[-1] >= 75  # dark and light images
    assert not runner.model.algorithm.backbone._forward_hooks


def test_it_resumes_within_an_epoch(images, tmp_path):
    options = {'default_hooks.checkpoint': dict(type='repre_mm.SafeCheckpointHook', interval=1, by_epoch=False)}
    make_runner(images, tmp_path / 'straight', **options, **PROBE).train()
    runner = make_runner(images, tmp_path / 'stopped', **options, **PROBE)
    runner.register_hook(CrashAt(7))
    with suppress(SimulatedCrashError):
        runner.train()
    make_runner(images, tmp_path / 'stopped', resume=True, **options, **PROBE).train()
    ours, theirs = (read_checkpoint(tmp_path / name / 'iter_8.pth') for name in ('straight', 'stopped'))
    assert training_differences(ours, theirs) == []
    for part in ('weight', 'bias'):
        torch.testing.assert_close(*(each['online_probe']['head'][part] for each in (ours, theirs)), rtol=0, atol=0)
    assert ours['online_probe']['optimizer']['state'][0]['step'] == 8
    assert scalars(tmp_path / 'straight')[-1] == scalars(tmp_path / 'stopped')[-1]


@pytest.mark.parametrize('method', ['simclr', 'dino'])
def test_it_hears_view_1_of_every_method(method, images, tmp_path, monkeypatch):
    """The features are those of the first rows, in order: a copy of the encoder sees them once more."""
    runner = make_runner(images, tmp_path, **PROBE, **{'train_cfg.max_epochs': 1})
    backbone = runner.cfg.model.algorithm.backbone
    backbone.drop_path_rate = 0
    runner.cfg.model.algorithm = tiny_algorithm(method, backbone, channels=32)
    heard = []
    real = OnlineProbeHook._note_features

    def note(hook, module, args, output):
        view = hook._view
        real(hook, module, args, output)
        if view is not None and hook._features is not None and not heard:
            heard.append(None)
            encoder = copy.deepcopy(module)
            for part in encoder.modules():
                part._forward_hooks.clear()
                part._forward_pre_hooks.clear()
            with torch.no_grad():
                torch.testing.assert_close(hook._features, pooled(encoder(view)), rtol=1e-4, atol=1e-5)
            heard.append(True)

    monkeypatch.setattr(OnlineProbeHook, '_note_features', note)
    runner = type(runner).from_cfg(_labelled(runner.cfg, method))
    runner.train()
    assert heard == [None, True]


def _labelled(cfg, method):
    cfg.experiment_name = f'probe_{method}'
    if method == 'dino':
        cfg.default_hooks.dino = dict(type='repre_mm.DINOHook')
    return cfg


def test_images_without_labels_are_one_error(tmp_path):
    for split in ('train', 'val'):
        (tmp_path / 'flat' / split).mkdir(parents=True)
        for i in range(8):
            Image.new('RGB', (40, 40), (30 * i, 0, 0)).save(tmp_path / 'flat' / split / f'{i}.png')
    with pytest.raises((DatasetError, UserError), match='class'):
        make_runner(tmp_path / 'flat', tmp_path / 'run', **PROBE).train()


@pytest.mark.dist
def test_two_processes_learn_one_head(images, tmp_path):
    run_on_two_ranks('-m', 'fixtures.ranks', 'probe', images, tmp_path)
    heads = [torch.load(tmp_path / f'rank{rank}.pt') for rank in range(2)]
    assert heads[0]['top1'] == heads[1]['top1']
    assert heads[0]['weight'].abs().max() > 0 and torch.equal(heads[0]['weight'], heads[1]['weight'])
