"""Runs of the tiny config as a user sees them, with all parts of the engine together."""

import argparse
import copy
import json
from pathlib import Path

import pytest
import torch
from fixtures.data import make_image_folder
from mmengine.config import Config
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.runner import Runner

from repre_mm.checkpoint import read_checkpoint
from repre_mm.cli.config import load_config
from repre_mm.engine.launch import build_runner

CONFIG = Path(__file__).parents[1] / 'fixtures/tiny_config.py'


@pytest.fixture(scope='module')
def images(tmp_path_factory) -> Path:
    return make_image_folder(tmp_path_factory.mktemp('images'))


def config(images: Path, work_dir: Path, *, amp: bool = False, resume: bool = False, **options) -> Config:
    args = argparse.Namespace(
        config=str(CONFIG), work_dir=str(work_dir), data=str(images), amp=amp, launcher='none', cfg_options=options
    )
    cfg = load_config(args)
    cfg.resume = resume
    cfg.experiment_name = work_dir.name  # mmengine keeps loggers by this name; two tests must not share one
    return cfg


def run(*args, **kwargs) -> Runner:
    runner = build_runner(config(*args, **kwargs))
    runner.train()
    return runner


@pytest.fixture(scope='module')
def trained(images, tmp_path_factory) -> Runner:
    torch.set_num_threads(1)
    return run(images, tmp_path_factory.mktemp('trained'))


def test_logs_what_was_promised(trained):
    scalars = trained.message_hub.log_scalars
    for name in ('loss', 'contrast', 'recon_l1', 'weight_contrast', 'weight_recon', 'images_per_s', 'data_wait'):
        assert len(scalars[f'train/{name}'].data[0]) == 4, name
    assert scalars['train/images_per_s'].current() > 0
    assert 0 <= scalars['train/data_wait'].current() <= 1
    assert 0 <= scalars['val/knn_top1'].current() <= 100
    log = next(Path(trained.work_dir).glob('*/*.log')).read_text()
    assert 'eta:' in log
    assert 'kNN: top-1' in log


def test_loss_in_the_log_is_the_weighted_total(trained):
    values = {k.split('/')[1]: v.data[0] for k, v in trained.message_hub.log_scalars.items() if len(v.data[0]) == 4}
    weights, losses = (values['weight_contrast'], values['weight_recon']), (values['contrast'], values['recon_l1'])
    expected = sum(w * loss - torch.log(torch.tensor(w)).numpy() for w, loss in zip(weights, losses, strict=True))
    torch.testing.assert_close(torch.tensor(values['loss']), torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_pictures_are_saved_on_schedule(trained):
    names = {path.name for path in (Path(trained.work_dir) / 'reconstructions').iterdir()}
    assert names == {'iter_1.png', 'iter_2.png', 'iter_4.png'}


def test_learned_weights_are_not_decayed_and_have_their_own_rate(trained):
    log_vars = trained.model.loss_weighting.log_vars
    (group,) = (g for g in trained.optim_wrapper.param_groups if any(p is log_vars for p in g['params']))
    assert group['weight_decay'] == 0
    base = max(g['initial_lr'] for g in trained.optim_wrapper.param_groups if g is not group)
    assert group['initial_lr'] == pytest.approx(5 * base)


def test_checkpoint_feeds_mmpretrain_mmdet_and_mmseg(trained):
    """init_cfg=Pretrained with prefix='backbone.' fills the encoder as it is, in each project's scope."""
    path = str(Path(trained.work_dir) / 'epoch_2.pth')
    state = read_checkpoint(path)['state_dict']
    expected = {k[len('backbone.') :]: v for k, v in state.items() if k.startswith('backbone.')}
    cfg = copy.deepcopy(trained.cfg.model.algorithm.backbone)
    cfg.update(
        type='mmpretrain.VisionTransformer', init_cfg=dict(type='Pretrained', checkpoint=path, prefix='backbone.')
    )
    cfg.pop('stop_grad_conv1')
    for scope in ('mmpretrain', 'mmdet', 'mmseg'):
        from mmengine.registry import DefaultScope

        with DefaultScope.overwrite_default_scope(scope):
            encoder = ROOT_MODELS.build(cfg)
        encoder.init_weights()
        assert set(encoder.state_dict()) == set(expected)
        for key, value in encoder.state_dict().items():
            assert torch.equal(value, expected[key]), (scope, key)


def test_resume_goes_on(images, tmp_path):
    run(images, tmp_path, **{'train_cfg.max_epochs': 1})
    first = read_checkpoint(tmp_path / 'epoch_1.pth')
    resumed = run(images, tmp_path, resume=True)
    assert resumed.iter == 4
    history = resumed.message_hub.get_scalar('train/recon_l1').data[0]
    assert len(history) == 4
    assert history[:2].tolist() == first['message_hub']['log_scalars']['train/recon_l1'].data[0].tolist()
    assert (tmp_path / 'epoch_2.pth').is_file()


def test_one_seed_one_result(images, tmp_path, trained):
    again = run(images, tmp_path)
    for key, value in trained.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[key], value), key


def test_plain_folder_without_labels(images, tmp_path):
    runner = run(images / 'train' / 'dark', tmp_path)
    assert 'val/knn_top1' not in runner.message_hub.log_scalars
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'no online kNN score' in log


def test_summary_scalars_are_written_as_json_lines(trained):
    (path,) = Path(trained.work_dir).glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert any('recon_l1' in line for line in lines)
