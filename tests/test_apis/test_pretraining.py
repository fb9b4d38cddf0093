"""repre_mm.pretrain: the three lines of Python that the README shows."""

from pathlib import Path

import pytest
import torch
from fixtures.data import make_image_folder

import repre_mm
from repre_mm.utils.errors import UserError

TINY = str(Path(__file__).parents[1] / 'fixtures/tiny_config.py')


def test_a_run_gives_an_encoder(tmp_path):
    data = make_image_folder(tmp_path / 'data', train=4, val=2)
    run = repre_mm.pretrain(data, tmp_path / 'run', config=TINY, epochs=2)
    assert (run.folder, run.epochs) == (tmp_path / 'run', 2)
    assert {'loss', 'contrast', 'recon_l1', 'weight_recon'} <= set(run.scores)
    encoder = repre_mm.load_encoder(run.folder)
    vectors = encoder.embed(data / 'val', progress=False)
    trained = torch.load(tmp_path / 'run/epoch_2.pth', weights_only=False)['state_dict']
    torch.testing.assert_close(encoder.backbone.state_dict()['ln1.weight'], trained['backbone.ln1.weight'])
    assert vectors.isfinite().all()
    # Longer, from where it stopped.
    assert repre_mm.pretrain(data, tmp_path / 'further', config=TINY, epochs=1, init_from=run.folder).epochs == 1


def test_wrong_input_raises_before_anything_starts(tmp_path):
    with pytest.raises(UserError, match='nowhere'):
        repre_mm.pretrain(tmp_path / 'nowhere', tmp_path / 'run', config=TINY)
    with pytest.raises(UserError, match='there is no config recipes/repre_magic_vit-tiny_cpu'):
        repre_mm.pretrain(tmp_path, tmp_path / 'run', method='magic')
    assert not (tmp_path / 'run').exists()
