"""Patch retrieval: planted duplicates come first, by the encoder and by the projector."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.models import MEAN, STD, VIT, mocov3
from fixtures.places import write_shards
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image
from torch.testing import assert_close

from repre_mm.datasets import open_images
from repre_mm.evaluation import EncoderName, load_frozen_encoder
from repre_mm.studies.parts.representations import load_projector
from repre_mm.studies.parts.retrieval import cut_windows, represent_windows, retrieve
from repre_mm.utils.errors import UserError

BOX = (20, 13, 16, 12)  # left, top, width, height
PLANTED = {'2.png': (24, 18), '5.png': (0, 0), '6.png': (48, 36)}  # on the grid of half patches


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'tiny.py'
    backbone = {**VIT, 'out_type': 'avg_featmap'}
    Config(dict(model=mocov3(backbone), image_size=32, default_scope='mmpretrain')).dump(path)
    return path


@pytest.fixture
def images(tmp_path):
    """Eight images of noise, three of which hold the query patch of the first."""
    rng = np.random.default_rng(0)
    folder = tmp_path / 'images'
    folder.mkdir()
    pictures = {f'{i}.png': rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for i in range(8)}
    left, top, width, height = BOX
    patch = pictures['0.png'][top : top + height, left : left + width]
    for name, (x, y) in PLANTED.items():
        pictures[name][y : y + height, x : x + width] = patch
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / name)
    return folder


def parts_of(config, weights='random'):
    name = EncoderName(str(config), str(weights))
    return load_frozen_encoder(name), load_projector(name)


def test_planted_duplicates_come_first(config, images):
    encoder, projector = parts_of(config)
    places = open_images(images)
    found = retrieve(encoder, projector, places[0], BOX, places, top=6, progress=False)
    for hits in found.values():
        assert len(hits) == 6
        first = {Path(hit.path).name: hit.box for hit in hits[:3]}
        assert first == {name: (*corner, 16, 12) for name, corner in PLANTED.items()}
        similarities = [hit.similarity for hit in hits]
        assert similarities == sorted(similarities, reverse=True)
        assert min(similarities[:3]) > 1 - 1e-4 > similarities[3]
    assert list(found) == ['encoded', 'class token', 'projected']
    assert [hit.similarity for hit in found['encoded']] != [hit.similarity for hit in found['projected']]


def test_query_itself_is_no_hit(config, images):
    encoder, projector = parts_of(config)
    box = (16, 12, 16, 12)  # on the grid, so that it would be found
    own = open_images(images / '0.png')
    hits = retrieve(encoder, projector, own[0], box, own, progress=False)['projected']
    left, top, width, height = box
    for x, y, w, h in (hit.box for hit in hits):
        assert x + w <= left or x >= left + width or y + h <= top or y >= top + height


def test_windows_cover_the_image():
    windows = cut_windows(30, 50, (20, 10), stride=0.5)
    assert set(windows[:, 0].tolist()) == {0, 10, 20, 30} and set(windows[:, 1].tolist()) == {0, 5, 10, 15, 20}
    assert len(windows) == 20
    assert_close(windows[:, 2:] - windows[:, :2], torch.tensor([20, 10]).expand(20, 2))
    assert cut_windows(8, 8, (20, 10)).tolist() == [[0, 0, 8, 8]]  # a smaller image is one window


def test_representations_are_those_of_training(config, images):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(Config.fromfile(config).model)
    state = {name: torch.rand_like(v) if v.is_floating_point() else v for name, v in model.state_dict().items()}
    model.load_state_dict(state)
    model.eval()
    checkpoint = images.parent / 'epoch.pth'
    torch.save({'meta': {'cfg': Config.fromfile(config).pretty_text}, 'state_dict': state}, checkpoint)
    encoder, projector = parts_of(config, checkpoint)
    pixels = np.random.default_rng(1).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    windows = torch.tensor([[0, 0, 32, 32], [32, 0, 64, 32]])  # of the encoder's size: nothing is resized
    found = represent_windows(encoder, projector, pixels, windows)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    whole = (torch.from_numpy(pixels).permute(2, 0, 1) - mean) / std
    with torch.no_grad():
        vectors = model.backbone(torch.stack([whole[..., :32], whole[..., 32:]]))
        projections = model.neck(vectors)[0]
    assert_close(found['projected'], torch.nn.functional.normalize(projections))


@pytest.mark.parametrize('box', [(60, 0, 16, 12), (-1, 0, 16, 12), (0, 0, 0, 12)])
def test_box_outside_of_the_image_is_refused(config, images, box):
    encoder, projector = parts_of(config)
    with pytest.raises(UserError, match=r'extends beyond .*0\.png, which is 64 x 48 pixels'):
        retrieve(encoder, projector, open_images(images / '0.png')[0], box, [], progress=False)


def _tool(arguments, monkeypatch):
    monkeypatch.setattr('sys.argv', ['tool', *map(str, arguments)])
    runpy.run_path(str(Path(__file__).parents[2] / 'tools/patch_retrieval.py'), run_name='__main__')


def test_tool_draws_and_names_what_it_found(config, images, tmp_path, monkeypatch, capsys):
    query = ['--query', images / '0.png', '--box', *BOX, '--out', tmp_path / 'hits.png']
    arguments = [config, 'random', '--data', images, *query, '--top', 3]
    _tool(arguments, monkeypatch)
    with Image.open(tmp_path / 'hits.png') as picture:
        one = picture.size
    assert one[0] > 1000
    printed = capsys.readouterr().out
    assert all(printed.count(name) == 2 for name in PLANTED)
    arguments[arguments.index('--box') + 1] = -5
    with pytest.raises(SystemExit, match='error: the box -5'):
        _tool(arguments, monkeypatch)


def test_tool_searches_shards(config, images, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    place = write_shards(images, tmp_path / 'copy', shards=1)
    query = ['--query', tmp_path / 'copy-000.tar:000000.png', '--box', *BOX, '--out', tmp_path / 'hits.png']
    _tool([config, 'random', '--data', place, *query, '--top', 3, '--show', 'encoded'], monkeypatch)
    printed = capsys.readouterr().out
    assert all(f'copy-000.tar:00000{name}' in printed for name in PLANTED)


def test_tool_sets_encoders_below_each_other(config, images, tmp_path, monkeypatch, capsys):
    timm = 'timm:vit_small_patch16_224,patch_size=8,embed_dim=24,depth=2,num_heads=2,img_size=32'
    encoders = ['--encoders', f'ours={config}:random', f'other={timm}']
    query = ['--query', images / '0.png', '--box', *BOX, '--out', tmp_path / 'hits.png']
    _tool([*encoders, '--data', images, *query, '--top', 3, '--show', 'encoded', 'projected'], monkeypatch)
    printed = capsys.readouterr().out
    assert 'ours, encoded:' in printed and 'ours, projected:' in printed
    assert 'other, encoded:' in printed and 'other, projected:' not in printed  # random timm weights have no projector
    with pytest.raises(SystemExit):
        _tool(['--data', images, *query], monkeypatch)
    assert 'name one encoder (ENCODER), or several' in capsys.readouterr().err
