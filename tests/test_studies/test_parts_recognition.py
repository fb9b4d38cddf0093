"""The part-aware study of an encoder as a whole, and its command."""

import json
import math
import runpy
from pathlib import Path

import pytest
from fixtures.encoders import DEPTH, HEADS, PATCH, WIDTH, mm_vit
from fixtures.models import MEAN, STD, VIT, mocov3
from fixtures.parts import PARTS, SIDE, make_coco, make_cub
from mmengine.config import Config

from repre_mm.evaluation import FrozenEncoder
from repre_mm.studies.parts.data import check_pair
from repre_mm.studies.parts.fcn import Scales
from repre_mm.studies.parts.layouts import open_layout
from repre_mm.studies.parts.recognition import study_encoder
from repre_mm.utils.errors import UserError

TIMM = f'timm:vit_small_patch16_224,patch_size={PATCH},embed_dim={WIDTH},depth={DEPTH},num_heads={HEADS},mlp_ratio=2'
SMALL = Scales((64, 32), (64, 32), 32, 21)
QUICK = {'scales': SMALL, 'iterations': 60, 'segmentation_batch': 8, 'workers': 0, 'progress': False}


def _encoder(size):
    return FrozenEncoder(mm_vit(), MEAN, STD, SIDE)


def test_parts_and_objects_of_different_colours_are_told_apart(tmp_path):
    train, val = make_coco(tmp_path / 'train', 60, seed=0), make_coco(tmp_path / 'val', 16, seed=1)
    result = study_encoder(_encoder, train, val, epochs=40, **QUICK)
    part, whole = result['part'], result['object']
    assert (part['classes'], part['train_regions'], part['val_regions']) == (4, 120, 32)
    assert (whole['classes'], whole['train_regions'], whole['val_regions']) == (2, 60, 16)
    for level in (part, whole):
        assert level['linear']['top1'] > 70 and level['attentive']['best_top1'] > 60
        assert level['segmentation']['miou'] > 30
    assert list(part['retrieval']) == ['encoded', 'class token']
    assert part['retrieval']['encoded']['ap'] > 60 and list(part['retrieval']['encoded']['per_class']) == list(PARTS)
    assert 'retrieval' not in whole
    # Parts named at random: what was measured above is the encoder's, not the procedure's.
    wrong = make_coco(tmp_path / 'shuffled', 60, seed=0, shuffled=True)
    lower = study_encoder(_encoder, wrong, val, levels=['part'], tasks=['recognition'], epochs=40, **QUICK)
    assert lower['part']['linear']['top1'] < 60


def test_keypoints_have_no_segmentation(tmp_path):
    (train, val), _ = open_layout(f'cub:{make_cub(tmp_path)}')
    result = study_encoder(_encoder, train, val, epochs=2, **QUICK)
    assert result['part']['val_regions'] == 6 and 'segmentation' not in result['part']
    assert result['object']['classes'] == 2 and result['object']['linear'] is not None


def test_splits_of_other_classes_are_refused(tmp_path):
    train, val = make_coco(tmp_path / 'train', 4, seed=0), make_coco(tmp_path / 'val', 4, seed=1)
    check_pair(train, val)
    (birds, _), _ = open_layout(f'cub:{make_cub(tmp_path / "cub")}')
    with pytest.raises(UserError, match='different part classes'):
        study_encoder(_encoder, train, birds, **QUICK)


def _tool(monkeypatch, arguments):
    monkeypatch.setattr('sys.argv', ['part_study', *map(str, arguments)])
    runpy.run_path(str(Path(__file__).parents[2] / 'tools/part_study.py'), run_name='__main__')


@pytest.mark.parametrize('protocol', ['study', 'quick'])
def test_tool_writes_one_row_per_encoder(tmp_path, monkeypatch, protocol, capsys):
    for split, count, seed in (('train', 24, 0), ('val', 8, 1)):
        make_coco(tmp_path / split, count, seed)
    config = tmp_path / 'tiny.py'
    Config(dict(model=mocov3(VIT), image_size=SIDE, default_scope='mmpretrain')).dump(config)
    files = [(f'--{split}-ann', tmp_path / split / 'parts.json') for split in ('train', 'val')]
    files += [(f'--{split}-images', tmp_path / split / 'images') for split in ('train', 'val')]
    common = [*(word for pair in files for word in pair), '--out', tmp_path / 'out', '--workers', '0', '--size', SIDE]
    common += ['--protocol', protocol, '--k', '3', '--epochs', '2', '--iterations', '2', '--crop', '32']
    _tool(monkeypatch, ['--encoders', f'a={config}:random', f'b={TIMM}', *common])
    lines = (tmp_path / 'out/part_study.md').read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    assert [row[0] for row in rows[2:4]] == ['a (tiny)', f'b ({TIMM})'] and rows[2][1] == 'random'
    result = json.loads((tmp_path / 'out/part_study.json').read_text())
    assert result['train_images'] == 24 and "2 classes, from the categories' supercategories" in result['objects']
    where = {'study': ('part mIoU', 'segmentation'), 'quick': ('part mIoU', None)}[protocol]
    for row, name in zip(rows[2:4], 'ab', strict=True):
        part = result['encoders'][name]['part']
        assert math.isclose(float(row[rows[0].index('part linear')]), part['linear']['top1'], abs_tol=0.006)
        miou = (part[where[1]] if where[1] else part)['miou']
        assert math.isclose(float(row[rows[0].index(where[0])]), miou, abs_tol=0.006)
    # Random weights of a config have a projector, those of a timm model have none.
    if protocol == 'study':
        column = rows[0].index('part AP, projected')
        assert float(rows[2][column]) > 0 and rows[3][column] == '-'


def test_tool_asks_for_one_kind_of_data(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        _tool(monkeypatch, ['--encoders', f'a={TIMM}', '--out', tmp_path])
    assert 'name the data either by --parts or by all of' in capsys.readouterr().err
    with pytest.raises(SystemExit, match='error: two encoders have the name a'):
        _tool(monkeypatch, ['--encoders', f'a={TIMM}', f'a={TIMM}', '--parts', 'cub:x', '--out', tmp_path])
