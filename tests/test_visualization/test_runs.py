"""Reading of work dirs."""

import json

import pytest
from fixtures.runs import log, step

from repre_mm.utils.errors import UserError
from repre_mm.visualization.runs import read_curves, read_runs


def test_a_resumed_training_goes_on_where_the_later_log_begins(tmp_path):
    log(tmp_path / '20260101_000000/vis_data', [step(10, loss=1.0), step(20, loss=2.0), step(30, loss=3.0)])
    log(tmp_path / '20260102_000000/vis_data', [step(20, loss=5.0), step(40, loss=6.0)])
    series = read_curves(tmp_path)['loss']
    assert (series.steps, series.values, series.unit) == ([10, 20, 40], [1.0, 5.0, 6.0], 'iteration')


def test_steps_of_validation_are_epochs_where_training_has_epochs(tmp_path):
    log(tmp_path / 'a/1/vis_data', [step(10, loss=1.0), {'val/knn_top1': 3.0, 'step': 1}])
    log(tmp_path / 'b/1/vis_data', [{'loss': 1.0, 'iter': 10, 'step': 10}, {'mIoU': 3.0, 'step': 10}])
    assert read_curves(tmp_path / 'a')['val/knn_top1'].unit == 'epoch'
    assert read_curves(tmp_path / 'b')['mIoU'].unit == 'iteration'


def test_a_line_being_written_is_passed_over_and_a_damaged_one_is_named(tmp_path):
    log(tmp_path / '1/vis_data', [step(10, loss=1.0), step(20, loss=2.0)])
    path = tmp_path / '1/vis_data/scalars.json'
    path.write_text(path.read_text() + '{"loss": 3')
    assert read_curves(tmp_path)['loss'].steps == [10, 20]
    path.write_text('{"loss": 3}}\n' + json.dumps(step(20, loss=2.0)) + '\n')
    with pytest.raises(ValueError, match=r'scalars\.json is not JSON'):
        read_curves(tmp_path)


def test_work_dirs_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(UserError, match='no such work dir'):
        read_runs([tmp_path / 'none'])
    (tmp_path / 'x.json').write_text('{')
    with pytest.raises(ValueError, match=r'x\.json is not JSON'):
        read_runs([tmp_path])
