"""Pictures from encoders and a folder of images, and tools/visualize.py, which draws them."""

import importlib.util
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from fixtures.data import make_image_folder
from fixtures.encoders import mm_swin, mm_vit
from fixtures.models import MEAN, STD
from numpy.testing import assert_array_equal
from PIL import Image

from repre_mm.evaluation import EvaluationError
from repre_mm.evaluation.features import FrozenEncoder
from repre_mm.evaluation.loaders import ImageSource
from repre_mm.evaluation.pictures import attention_picture, components_picture, embedding_picture, retrieval_picture
from repre_mm.visualization.text import letters

TILE, GAP, MARGIN, TOP = 192, 6, 12, 34
BLUE, ORANGE = (0, 114, 178), (230, 159, 0)


def tile(picture, row, column, top=TOP, left=MARGIN):
    return picture[top + row * (TILE + GAP) :, left + column * (TILE + GAP) :][:TILE, :TILE]


def by_encoder(picture, row, column):
    """The tile of a picture with a row per encoder, named 'image' and by single letters, and a column per image."""
    return tile(picture, row, column, MARGIN, MARGIN + math.ceil(letters(14).getlength('image')) + 2 * GAP)


def encoder(out_type='cls_token'):
    return FrozenEncoder(mm_vit(out_type=out_type), MEAN, STD, 32)


@pytest.fixture
def source(tmp_path):
    return ImageSource(make_image_folder(tmp_path / 'data', val=12))


def test_attention_picture_has_a_row_per_encoder(source):
    both = {'a': encoder(), 'b': encoder()}
    picture = attention_picture(both, source, [0, 1])
    assert 3 * (TILE + GAP) < picture.shape[0] < 4 * TILE
    assert_array_equal(by_encoder(picture, 0, 1), source.load([1], TILE)[0].permute(1, 2, 0))
    assert_array_equal(by_encoder(picture, 1, 1), by_encoder(picture, 2, 1))  # equal encoders
    assert not np.array_equal(by_encoder(picture, 1, 0), by_encoder(picture, 1, 1))
    assert len(np.unique(by_encoder(picture, 1, 0)[::48, ::48].reshape(-1, 3), axis=0)) > 8  # 4 x 4 cells


def test_map_is_chosen_by_what_every_encoder_has(source):
    vit, swin = encoder(), FrozenEncoder(mm_swin(), MEAN, STD, 64)
    similarity = attention_picture({'a': vit, 'b': swin}, source, [0])
    assert_array_equal(attention_picture({'a': vit, 'b': swin}, source, [0], kind='similarity'), similarity)
    with pytest.raises(ValueError, match='SwinTransformer has no class token'):
        attention_picture({'a': vit, 'b': swin}, source, [0], kind='class')


def test_components_and_embedding(source):
    picture = components_picture({'a': encoder(), 'b': encoder()}, source, [0, 1, 2])
    assert_array_equal(by_encoder(picture, 0, 2), source.load([2], TILE)[0].permute(1, 2, 0))
    assert_array_equal(by_encoder(picture, 1, 2), by_encoder(picture, 2, 2))
    pytest.importorskip('sklearn')
    figure = embedding_picture({'a': encoder(), 'b': encoder()}, source, source.sample_classes(2, 5))
    panels = figure.axes
    assert [panel.get_title() for panel in panels] == ['a', 'b']
    assert sum(len(points.get_offsets()) for points in panels[0].collections) == 10


def test_embedding_of_images_without_classes_shows_clusters(tmp_path):
    pytest.importorskip('sklearn')
    photos = tmp_path / 'photos'
    photos.mkdir()
    for path in (make_image_folder(tmp_path / 'data', val=6) / 'val').rglob('*.*'):
        shutil.copy(path, photos / f'{path.parent.name}_{path.name}')
    source = ImageSource(photos)
    assert source.classes is None
    figure = embedding_picture({'a': encoder(), 'b': encoder()}, source, source.sample(99), num_clusters=2)
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [name.split(' (')[0] for name in named] == ['cluster 1', 'cluster 2']
    assert sum(int(name.split('(')[1].split()[0]) for name in named) == source.count
    assert figure.legends[0].get_title().get_text() == 'k-means of a'
    # Equal encoders: the same colours in both panels, and both clusters are there.
    assert all(len(points.get_offsets()) for panel in figure.axes for points in panel.collections)


def test_retrieval_finds_the_copy_and_frames_by_class(tmp_path):
    root = make_image_folder(tmp_path, val=8)
    for name in ('dark', 'light'):  # a copy of dark/0 in each class
        shutil.copy(root / 'val/dark/0.jpg', root / f'val/{name}/copy.jpg')
    source = ImageSource(root)
    order = [0, *range(1, source.count)]  # dark/0 is the query
    picture = retrieval_picture({'a': encoder()}, source, order, queries=1, top=2)
    frames = {tuple(tile(picture, 0, column)[0, 0]) for column in (1, 2)}
    assert frames == {BLUE, ORANGE}
    shown = source.load([0], TILE)[0].permute(1, 2, 0).numpy()[6:-6, 6:-6]
    for column in (1, 2):
        assert_array_equal(tile(picture, 0, column)[6:-6, 6:-6], shown)
    with pytest.raises(EvaluationError, match='2 images are too few'):
        retrieval_picture({'a': encoder()}, source, [0, 1], top=2)


@pytest.fixture
def command(monkeypatch):
    """tools/visualize.py's main with given arguments."""
    path = Path(__file__).parents[2] / 'tools/visualize.py'
    spec = importlib.util.spec_from_file_location('visualize_tool', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*args):
        monkeypatch.setattr('sys.argv', ['visualize.py', *map(str, args)])
        module.main()

    return run


TINY = Path(__file__).parents[1] / 'fixtures/tiny_config.py'


@pytest.mark.parametrize('what', ['reconstruction', 'attention', 'components'])
def test_command_writes_a_picture(command, source, tmp_path, capsys, what):
    out = tmp_path / 'out/picture.png'
    command(what, TINY, 'random', '--data', source.root, '--num-images', 2, '--out', out)
    assert str(out) in capsys.readouterr().out
    with Image.open(out) as picture:
        assert picture.width > 2 * TILE or what == 'reconstruction'


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['attention', TINY, 'random', '--data', 'nowhere'], 'nowhere'),
        (['attention', 'none.py', 'random'], 'there is no config none.py'),
        (['attention', TINY, 'none.pth'], 'none.pth'),
        (['attention', TINY, 'random', '--layer', '9'], 'no layer 9: choose from 0 to 3'),
        (['attention', TINY, 'random', '--names', 'a', 'b'], '--names needs 1'),
        (['curves', 'nowhere'], 'no such work dir: nowhere'),
    ],
    ids=lambda value: str(value[-1]) if isinstance(value, list) else '',
)
def test_command_ends_with_one_line(command, source, args, message):
    if args[0] != 'curves' and '--data' not in args:
        args = [*args, '--data', source.root]
    with pytest.raises(SystemExit, match=message):
        command(*args)
