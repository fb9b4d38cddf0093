"""Every method, plain and inside RePre, on a ViT and on a Swin, through the Runner: train, save, resume, continue."""

import argparse
import math
from pathlib import Path

import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.methods import METHODS, PASSES, tiny_method
from fixtures.models import ENCODERS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from repre_mm.checkpoint import read_checkpoint
from repre_mm.cli.config import load_config
from repre_mm.engine.launch import build_runner
from repre_mm.models.selfsup import CosineEMA

CONFIG = Path(__file__).parents[1] / 'fixtures/tiny_config.py'
STEPS = 3


@pytest.fixture(scope='module')
def images(tmp_path_factory) -> Path:
    return make_image_folder(tmp_path_factory.mktemp('images'), train=4 * STEPS, val=1)


def view(size: int) -> list[dict]:
    crop = dict(type='RandomResizedCrop', scale=size, backend='pillow')
    return [crop, dict(type='RandomFlip', prob=0.5)]


def config(method: str, encoder: str, repre: bool, images: Path, work_dir: Path, epochs: int) -> Config:
    args = argparse.Namespace(
        config=str(CONFIG), work_dir=str(work_dir), data=str(images), amp=False, launcher='none', cfg_options=None
    )
    cfg = load_config(args)
    cfg.model = tiny_method(method, encoder, repre)
    size = ENCODERS[encoder][1]
    views = [view(size), view(size)] + ([view(size // 2)] if method == 'dino' else [])
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline[1].update(num_views=[1, 1, 2][: len(views)], transforms=views)
    cfg.default_hooks.update(knn=None, reconstruction=None)
    if method == 'dino':
        cfg.default_hooks.update(
            dino=dict(type='repre_mm.DINOHook'), clip=dict(type='repre_mm.ClipGradPerParameterHook')
        )
    cfg.train_cfg.max_epochs = epochs
    cfg.experiment_name = f'{work_dir.name}_{epochs}'
    return cfg


class AtStart(Hook):
    """Keep what the model holds when training starts."""

    priority = 'LOWEST'
    state: dict

    def before_train_epoch(self, runner: Runner) -> None:
        self.state = {key: value.clone() for key, value in runner.model.state_dict().items()}


def run(cfg: Config) -> Runner:
    runner = build_runner(cfg)
    runner.train()
    return runner


@pytest.mark.parametrize('repre', [False, True], ids=['plain', 'repre'])
@pytest.mark.parametrize('method', METHODS)
def test_trains_resumes_and_goes_on(method, repre, encoder_name, images, tmp_path):
    first = run(config(method, encoder_name, repre, images, tmp_path, epochs=1))
    assert first.iter == STEPS
    saved = read_checkpoint(tmp_path / 'epoch_1.pth')['state_dict']
    for key, value in first.model.state_dict().items():
        torch.testing.assert_close(saved[key], value, rtol=0, atol=0)

    cfg = config(method, encoder_name, repre, images, tmp_path, epochs=2)
    cfg.resume = True
    resumed = build_runner(cfg)
    resumed.register_hook(start := AtStart())
    resumed.train()
    torch.testing.assert_close(start.state, dict(saved), rtol=0, atol=0)
    assert resumed.iter == 2 * STEPS
    losses = resumed.message_hub.get_scalar('train/loss').data[0]
    assert len(losses) == 2 * STEPS and all(math.isfinite(loss) for loss in losses)
    targets = [module for module in resumed.model.modules() if isinstance(module, CosineEMA)]
    assert [target.steps.item() for target in targets] == [2 * STEPS] * (PASSES[method][1] > 0)
    changed = [key for key, value in resumed.model.state_dict().items() if not torch.equal(value, saved[key])]
    prefixes = {key.split('.')[0] for key in changed}
    assert {'backbone', 'neck'} <= prefixes
    assert not repre or {'repre_neck', 'repre_decoder', 'loss_weighting'} <= prefixes
