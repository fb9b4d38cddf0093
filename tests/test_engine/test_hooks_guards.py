"""Combinations of model and optimizer that are refused at the start."""

import pytest
from fixtures.data import make_image_folder
from fixtures.resuming import make_runner


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp('images'))


def test_decayed_log_variances_are_refused(images, tmp_path):
    runner = make_runner(images, tmp_path, **{'optim_wrapper.paramwise_cfg': None})
    with pytest.raises(ValueError, match=r'log-variances of the loss weighting have weight decay 0\.1'):
        runner.train()


def test_accumulation_is_refused_where_it_changes_the_negatives(images, tmp_path):
    options = {'optim_wrapper.accumulative_counts': 2, 'default_hooks.accumulation.allow': False}
    with pytest.raises(ValueError, match=r'accumulative_counts=2 with MoCoV3.*accumulation\.allow=True'):
        make_runner(images, tmp_path, **options).train()


def test_accumulation_is_let_through_with_a_warning(images, tmp_path):
    make_runner(images, tmp_path, **{'optim_wrapper.accumulative_counts': 2}).train()
    assert 'are not one batch 2 times as large' in next(tmp_path.glob('*/*.log')).read_text()
