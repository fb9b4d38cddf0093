"""Weights by name: in a folder, at an address, on the Hub, in the package."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from repre_mm.checkpoint import CheckpointError
from repre_mm.checkpoint.zoo import find_weights
from repre_mm.evaluation.encoders import EncoderName
from repre_mm.utils.package import FILES

TOY, LARGE = 'repre_simclr_vit-tiny_toy', 'repre_mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k'


@pytest.fixture
def mirror(tmp_path, monkeypatch) -> Path:
    """A folder that is also an address, with weights of the large config; downloads are kept in tmp_path/cache."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    folder = tmp_path / 'mirror'
    folder.mkdir()
    save_file({'backbone.x': torch.ones(2)}, folder / f'{LARGE}.safetensors')
    return folder


def test_package_has_the_toy_weights(monkeypatch):
    monkeypatch.delenv('REPRE_WEIGHTS', raising=False)
    config, weights = find_weights(TOY)
    assert Path(config).stem == TOY and Path(weights) == FILES / f'weights/{TOY}.safetensors'
    name = EncoderName.parse([f'toy/{TOY}'])
    assert (name.config_path, name.weights) == (config, weights)


def test_places_of_the_user_come_first_in_their_order(mirror, tmp_path, monkeypatch):
    (tmp_path / 'own').mkdir()
    own = tmp_path / f'own/{TOY}.pth'
    own.touch()
    monkeypatch.setenv('REPRE_WEIGHTS', f'{tmp_path}/own {mirror}')
    assert find_weights(TOY)[1] == str(own)
    assert find_weights(LARGE)[1] == str(mirror / f'{LARGE}.safetensors')


def test_download_is_kept(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv('REPRE_WEIGHTS', f'{mirror.as_uri()}/')
    _, weights = find_weights(LARGE)
    assert Path(weights).is_relative_to(tmp_path / 'cache/repre_mm/weights')
    (mirror / f'{LARGE}.safetensors').unlink()
    assert find_weights(LARGE)[1] == weights


def test_wrong_download_is_named_and_not_kept(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv('REPRE_WEIGHTS', mirror.as_uri())
    (mirror / f'{LARGE}.safetensors').write_text('<!doctype html>not here')
    with pytest.raises(CheckpointError, match='it is a web page'):
        find_weights(LARGE)
    assert not [path for path in (tmp_path / 'cache').rglob('*') if path.is_file()]
    # The package's file is published: another one under its name is not taken for it.
    save_file({'backbone.x': torch.ones(2)}, mirror / f'{TOY}.safetensors')
    assert find_weights(TOY)[1] == str(FILES / f'weights/{TOY}.safetensors')


def test_what_is_nowhere_says_where_it_was_sought_and_what_helps(tmp_path, monkeypatch):
    monkeypatch.setenv('REPRE_WEIGHTS', f'{tmp_path} {tmp_path.as_uri()}')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    with pytest.raises(CheckpointError) as caught:
        EncoderName.parse([LARGE])
    for part in (
        str(tmp_path),
        'file://',
        'none are published',
        f'repre train {LARGE}',
        'hf-hub:USER',
        'REPRE_WEIGHTS',
    ):
        assert part in str(caught.value)
    assert '\n' not in str(caught.value)


def test_other_words_are_files():
    assert find_weights('epoch_7') is None
    assert EncoderName.parse(['epoch_7.pth']) == EncoderName(None, 'epoch_7.pth')
