"""Combinations of model and optimizer that are refused at the start."""

from types import SimpleNamespace

import pytest
from fixtures.data import make_image_folder
from fixtures.methods import build
from fixtures.resuming import make_runner

from repre_mm.engine import AccumulationGuardHook


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp('images'))


def test_decayed_log_variances_are_refused(images, tmp_path):
    runner = make_runner(images, tmp_path, **{'optim_wrapper.paramwise_cfg': None})
    with pytest.raises(ValueError, match=r'log-variances of the loss weighting have weight decay 0\.1'):
        runner.train()


def test_accumulation_is_refused_where_it_changes_the_negatives():
    runner = SimpleNamespace(model=build('mocov3', 'vit'), optim_wrapper=SimpleNamespace(_accumulative_counts=2))
    with pytest.raises(ValueError, match=r'accumulative_counts=2 with MoCoV3.*hooks\.accumulation=None'):
        AccumulationGuardHook().before_train(runner)
    runner.model = build('moby', 'vit')
    AccumulationGuardHook().before_train(runner)  # its negatives come from a queue
