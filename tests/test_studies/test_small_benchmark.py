"""The small benchmark: its scores, its intervals, bad input in one line, a run from the command line to the page."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.encoders import moco_vit
from fixtures.models import MEAN, STD
from fixtures.parts import make_coco_files
from PIL import Image

from repre_mm.evaluation import FrozenEncoder
from repre_mm.studies.ablation import Cell, Settings
from repre_mm.studies.parts.patches import patch_map
from repre_mm.studies.small.cells import METHODS, PLAIN, RANDOM, REPRE, Bench, cells_of
from repre_mm.studies.small.data import Sources, prepare
from repre_mm.studies.small.page import findings, pair_differences, paired
from repre_mm.studies.small.scores import SCORES, score_encoder, tile_maps
from repre_mm.utils.errors import UserError

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/benchmarks/small.py'


def make_parts(root: Path) -> Path:
    for split, count, seed in (('train', 6, 0), ('val', 4, 1)):
        make_coco_files(root, split, count, seed)
        (root / 'annotations' / split / f'{split}.json').rename(root / f'annotations/parts_{split}.json')
        (root / 'images' / split).rename(root / split)
    return root


def make_seg(root: Path) -> Path:
    """Dark is 0, light is 1, the first rows are void; the border of both is not where a tile ends."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for folder in ('leftImg8bit', 'gtFine'):
            (root / folder / split / 'town').mkdir(parents=True)
        for index in range(3):
            mask = np.zeros((60, 80), np.uint8)
            mask[:, 20 + 15 * index :] = 1
            pixels = rng.integers(0, 90, (60, 80, 3)) + 160 * mask[..., None]
            Image.fromarray(pixels.astype(np.uint8)).save(root / f'leftImg8bit/{split}/town/{index}_leftImg8bit.jpg')
            mask[:4] = 255
            Image.fromarray(mask).save(root / f'gtFine/{split}/town/{index}_gtFine_labelTrainIds.png')
    return root


@pytest.fixture(scope='module')
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp('images')
    data = make_image_folder(root / 'cls', train=24, val=12)
    return Sources(str(data), str(make_seg(root / 'seg')), str(make_parts(root / 'parts')))


@pytest.fixture
def encoder():
    return FrozenEncoder(moco_vit(out_type='avg_featmap'), MEAN, STD, 32)


def test_every_score_is_a_share_and_easy_images_are_told_apart(sources, encoder, tmp_path):
    assert sources.check() == 24
    data = prepare(sources, 32, 8, tmp_path)
    scores = score_encoder(encoder, data, k=3)
    assert set(scores) == {*SCORES, 'block_knn'}
    assert all(0 <= scores[name] <= 100 for name in SCORES)
    assert scores['knn'] == scores['linear'] == 100
    assert scores['seg_miou'] > 80
    assert len(scores['block_knn']) == len(encoder.module.layers)
    written = (tmp_path / 'images.pt').stat().st_mtime_ns
    again = prepare(sources, 32, 8, tmp_path)
    assert torch.equal(again['cls']['val'][0], data['cls']['val'][0])
    assert (tmp_path / 'images.pt').stat().st_mtime_ns == written
    only = prepare(Sources(sources.data), 32, 8, tmp_path)
    assert {name for name, value in score_encoder(encoder, only, k=3).items() if value is None} == {
        name for name in SCORES if name.startswith(('seg', 'part'))
    }


def test_tiles_are_encoded_alone_and_put_together(encoder):
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    maps = tile_maps(encoder, images)
    assert maps.shape[2:] == (8, 12)
    alone = patch_map(encoder.module, encoder.normalised(images[1:, :, 32:, 32:64]))
    torch.testing.assert_close(maps[1, :, 4:, 4:8], alone[0], atol=1e-4, rtol=1e-4)


def test_intervals_are_those_of_student():
    # Mean 2, standard deviation 1: 4.303 / sqrt(3).
    assert paired([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2.484, 3), abs=1e-3)
    assert str(paired([1.0, 2.0, 3.0])) == '+2.0 ± 2.5'
    assert str(paired([-1.25])) == '-1.2 (1 pair)'


def test_differences_are_within_a_seed():
    cells = cells_of(['SimCLR'], [PLAIN, REPRE], [0, 1])
    values = dict(zip(cells, (10.0, 13.0, 20.0, 21.0, 1.0, 1.0), strict=True))
    results = {cell: {'scores': {'knn': value}} for cell, value in values.items()}
    assert pair_differences(results, 'SimCLR', REPRE, 'knn') == [3.0, 1.0]
    del results[cells[0]]
    assert pair_differences(results, 'SimCLR', REPRE, 'knn') == [1.0]


def test_the_page_says_which_differences_are_beyond_their_interval():
    cells = cells_of(['SimCLR'], [PLAIN, REPRE], [0, 1, 2])[:-3]
    rest = dict.fromkeys(SCORES, None)
    scores = [(40.0, 9.0), (44.0, 9.5), (41.0, 9.0), (45.1, 8.6), (42.0, 9.0), (45.8, 9.3)]
    results = {
        cell: {'scores': {**rest, 'knn': knn, 'part_map': parts}}
        for cell, (knn, parts) in zip(cells, scores, strict=True)
    }
    (text, _) = findings(results)
    assert 'Of 2 differences between RePre and plain, 1 beyond the interval: kNN, top-1 of SimCLR, RePre (+4.0' in text
    assert findings({cell: results[cell] for cell in cells[:2]}) == []


def test_cells_come_in_whole_pairs():
    cells = cells_of(list(METHODS), [PLAIN, REPRE], [0, 1])
    assert [cell.seed for cell in cells] == [0] * 4 + [1] * 4 + [0, 1]
    assert {cell.variant for cell in cells[-2:]} == {RANDOM}
    for wrong in ((['MAE'], [PLAIN], [0]), (['SimCLR'], ['fixd'], [0]), (['SimCLR'], [PLAIN], [])):
        with pytest.raises(UserError, match='choose from'):
            cells_of(*wrong)


def test_both_arms_differ_by_the_branch_only(sources, tmp_path):
    options = {'auto_scale_lr.base_batch_size': 4}
    bench = Bench(Settings('small', sources.data, 24, epochs=2, options=options), sources, tmp_path, ROOT / 'configs')
    random = bench.config(cells_of(['SimCLR'], [PLAIN], [1])[-1])
    assert random.model == bench.config(Cell(METHODS['SimCLR'], PLAIN, 1)).model
    for method in METHODS.values():
        plain, repre = (bench.config(Cell(method, arm, 1)) for arm in (PLAIN, REPRE))
        assert repre.model.algorithm == plain.model
        assert len(repre.custom_hooks) == 1
        patch = plain.model.backbone.patch_size
        assert 3 * patch**2 > 2 * plain.model.backbone.arch.embed_dims
        assert plain.train_cfg.max_epochs == 2
        assert bench.steps(plain) == 12
        for key in ('train_dataloader', 'optim_wrapper', 'param_scheduler', 'randomness', 'train_cfg'):
            assert plain[key] == repre[key]


def run(*words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    return subprocess.run([sys.executable, str(TOOL), *words], env=environment, capture_output=True, text=True)


def run_here(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *words])
    runpy.run_path(str(TOOL))['main']()


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--data', 'NONE'], 'NONE'),
        (['--data', 'CLS', '--seg', 'CLS'], 'leftImg8bit'),
        (['--data', 'CLS', '--parts', 'CLS'], r'parts_\{train,val\}\.json'),
        (['--data', 'CLS', '--methods', 'MAE'], '--methods MAE: choose from SimCLR, MoCo v3'),
        (['--data', 'CLS', '--jobs', '0'], '--jobs 0 must be positive'),
        (['--data', 'CLS', '--page', 'page.md'], 'no finished cell'),
    ],
)
def test_bad_input_is_one_line(sources, tmp_path, monkeypatch, words, message):
    words = [sources.data if word == 'CLS' else word for word in words]
    with pytest.raises(SystemExit, match=f'^error: [^\n]*{message}[^\n]*$'):
        run_here(monkeypatch, *words, '--work-dir', str(tmp_path))


@pytest.mark.slow
def test_benchmark_runs_continues_and_writes_its_page(sources, tmp_path, monkeypatch):
    words = ['--data', sources.data, '--seg', sources.seg, '--parts', sources.parts, '--epochs', '2', '--k', '3']
    words += ['--methods', 'SimCLR', '--seeds', '0', '--jobs', '2', '--work-dir', str(tmp_path / 'work')]
    words += ['--cfg-options', 'auto_scale_lr.base_batch_size=4']
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert '3 cells: 0 finished before, 3 to do' in done.stdout
    assert 'SimCLR, default: 12 steps of' in done.stdout
    file = tmp_path / 'work/simclr_vit/default/seed_0/cell.json'
    first = file.read_text()
    cell = json.loads(first)
    assert cell['cost']['steps'] == 12
    assert len(cell['curves']['grad_share_recon_block_6'][0]) == 12
    (tmp_path / 'work/random/random/seed_0/cell.json').unlink()
    again = run(*words)
    assert '3 cells: 2 finished before, 1 to do' in again.stdout
    assert file.read_text() == first

    page = tmp_path / 'page.md'
    run_here(monkeypatch, *words, '--page', str(page))
    text = page.read_text()
    assert text.count('(1 pair)') == len(SCORES)
    assert '| SimCLR | RePre | ' in text.partition('## Gradient')[2]
    assert str(tmp_path) not in text + page.with_suffix('.json').read_text()
    for name in ('blocks', 'losses', 'gradients'):
        assert f'page-{name}.png' in text
        with Image.open(tmp_path / f'page-{name}.png') as image:
            assert min(image.size) > 200
    with pytest.raises(SystemExit, match='was made with epochs=2'):
        run_here(monkeypatch, *words, '--epochs', '3', '--plan')
