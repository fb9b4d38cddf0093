"""The kNN score during training is that of the network that the method's authors evaluate."""

import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.encoders import filled
from fixtures.methods import build
from fixtures.models import MEAN, STD
from fixtures.resuming import make_runner
from mmengine.logging import MessageHub, MMLogger

from repre_mm.engine.hooks.online_knn import OnlineKNNHook
from repre_mm.evaluation import FrozenEncoder, extract_features, image_folder_loader, knn_classify


class _Runner:
    """As much of a Runner as the hook uses."""

    def __init__(self, model):
        self.model, self.epoch, self.max_epochs, self.iter, self.cfg = model, 0, 1, 0, {}
        self.logger, self.visualizer = MMLogger.get_current_instance(), self
        self.message_hub, self.scalars = MessageHub.get_current_instance(), {}

    def add_scalar(self, name, value, step):
        self.scalars[name] = value


def score(encoder, root):
    """Top-1 of an encoder, step by step."""
    frozen = FrozenEncoder(encoder, MEAN, STD, 32)
    (bank, labels), (queries, truth) = (
        extract_features(frozen, image_folder_loader(root, split, 32, workers=0), progress=False)
        for split in ('train', 'val')
    )
    return 100 * (knn_classify(bank, labels, queries, k=3)[3] == truth).double().mean().item()


def scalars(model, root):
    hook = OnlineKNNHook(dict(root=str(root)), 32, MEAN, STD, interval=1, k=3, workers=0)
    runner = _Runner(model)
    hook.before_train(runner)
    hook.after_train_epoch(runner)
    return runner.scalars


@pytest.fixture
def root(tmp_path):
    return make_image_folder(tmp_path / 'data', train=16, val=16)


def collapse(encoder):
    """All images alike: the first class of the bank wins everywhere."""
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()


def test_dino_is_scored_by_its_teacher(root):
    model = build('dino', 'vit', repre=True)
    student, teacher = model.algorithm.backbone, model.algorithm.momentum_encoder.module[0]
    filled(teacher, seed=3)
    collapse(student)
    expected = {'val/knn_top1': score(teacher, root)}
    assert expected['val/knn_top1'] > score(student, root) == 50
    assert scalars(model, root) == expected


def test_others_are_scored_by_their_online_network(root):
    model = build('mocov3', 'vit')
    collapse(model.algorithm.momentum_encoder)
    assert scalars(model, root) == {'val/knn_top1': score(model.backbone, root)}


@pytest.mark.parametrize(('timeout', 'scored'), [(1e-3, False), (600, True)])
def test_a_score_never_outlasts_a_collective(timeout, scored, tmp_path, monkeypatch):
    """The main process of several encodes alone; the others wait in the next collective, which has a time limit."""
    images = make_image_folder(tmp_path / 'images')
    knn = dict(
        type='repre_mm.OnlineKNNHook',
        dataset=dict(type='repre_mm.ImageFolder', root=str(images)),
        image_size=32,
        mean=[0.0] * 3,
        std=[255.0] * 3,
        interval=1,
        k=3,
        batch_size=2,
        workers=0,
    )
    options = {'default_hooks.knn': knn, 'env_cfg.dist_cfg': dict(backend='gloo', timeout=timeout)}
    runner = make_runner(images, tmp_path / 'run', **options)
    monkeypatch.setattr('repre_mm.engine.hooks.online_knn.get_world_size', lambda: 2)
    runner.train()
    assert ('val/knn_top1' in runner.message_hub.log_scalars) == scored
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert ('no online kNN score: encoding 8 images would take' in log) == (not scored)


def test_the_bank_is_drawn_evenly(root, monkeypatch):
    """Of 16 images of 2 classes 6 stay, 3 of each; the queries stay whole."""
    sizes = []
    monkeypatch.setattr(
        'repre_mm.engine.hooks.online_knn.knn_classify',
        lambda bank, labels, queries, k: sizes.append((labels.tolist(), len(queries))) or {k: torch.zeros(16)},
    )
    hook = OnlineKNNHook(dict(root=str(root)), 32, MEAN, STD, interval=1, k=3, workers=0, bank=6)
    runner = _Runner(build('mocov3', 'vit'))
    hook.before_train(runner)
    hook.after_train_epoch(runner)
    assert sizes == [([0, 0, 0, 1, 1, 1], 16)]
