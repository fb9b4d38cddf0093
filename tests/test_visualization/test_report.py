"""The report page: its content, escaping, and that a browser shows it whole."""

import html
import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.runs import log, step
from mmengine.config import Config

from repre_mm.evaluation.pretraining import load_repre
from repre_mm.visualization import save_png
from repre_mm.visualization.report import report_html
from repre_mm.visualization.runs import read_runs

NASTY = '<script>alert(1)<'  # no slash: it is the name of a folder


@pytest.fixture
def work_dirs(tmp_path):
    """A run with everything, and one of a plain method with a nasty name and little else."""
    full, plain = tmp_path / 'full', tmp_path / NASTY
    lines = [step(i, loss=3.0 - i / 100, recon_l1=0.4, weight_recon=1.0) for i in range(10, 101, 10)]
    log(full / '20260101_000000/vis_data', [*lines, {'val/knn_top1': 41.5, 'step': 2}])
    log(plain / '20260101_000000/vis_data', [step(i, loss=2.0) for i in range(10, 101, 10)])
    rng = np.random.default_rng(0)
    names = ['attention', 'embedding', 'reconstructions/iter_1', 'reconstructions/iter_20', 'reconstructions/iter_100']
    for name in names:
        save_png(rng.integers(0, 256, (300, 900, 3), dtype=np.uint8), full / f'{name}.png')
    shutil.copy(full / 'reconstructions/iter_100.png', full / 'reconstructions.png')
    save_png(np.zeros((20, 20, 3), np.uint8), full / f'pictures/{NASTY}.png')
    (full / 'summary.json').write_text(
        '{"linear_top1": 62.125, "versions": {"torch": 2.1}, "knn": {"top1": {"20": 50}}}'
    )
    (full / 'fusion.md').write_text(
        f'# {NASTY}\n\n| fusion | top-1 |\n|---|---|\n| **conv** | [35.8 ± 0.2](http://y) |\n'
    )
    (full / 'config.py').touch()
    (full / 'epoch_2.pth').touch()
    return [full, plain]


def test_page_holds_scores_curves_pictures_and_tables(work_dirs):
    page = report_html(read_runs(work_dirs))
    for text in (
        '62.12',
        'linear_top1',
        'knn.top1.20',
        '41.50',
        'total loss',
        '<strong>conv</strong>',
        '[35.8 ± 0.2](http://y)',
    ):
        assert text in page
    assert 'versions.torch' not in page
    assert page.count('<img') == 5  # attention, embedding, first and last reconstruction (once), and another picture
    assert 'iter_20.png' not in page


def test_page_names_the_command_for_what_is_missing(work_dirs):
    text = html.unescape(report_html(read_runs(work_dirs)))
    full = work_dirs[0]
    assert f'tools/visualize.py retrieval {full}/config.py {full}/epoch_2.pth --data DIR' in text
    assert 'tools/visualize.py attention CONFIG CHECKPOINT --data DIR' in text
    assert f'{NASTY} has no reconstruction branch' in text
    assert 'tools/knn.py CONFIG CHECKPOINT --data DIR --out' in text


def test_page_escapes_names_and_loads_nothing(work_dirs):
    page = report_html(read_runs(work_dirs), title=NASTY)
    assert '<script' not in page
    assert page.count(html.escape(NASTY)) >= 6
    assert all(source.startswith('data:') for source in re.findall(r'(?:src|href)="([^"#]+)"', page))
    assert '@import' not in page and not re.search(r'url\((?!#)', page)


def test_page_of_an_empty_work_dir_says_what_to_run(tmp_path):
    page = report_html(read_runs([tmp_path]))
    assert '<img' not in page and page.count('To make it:') == 8


def test_folder_of_a_table_is_not_taken_for_a_training(work_dirs, tmp_path):
    folder = tmp_path / 'ablation'
    folder.mkdir()
    (folder / 'ablation.md').write_text('## Levels K\n\n| | 1 | 4 |\n|---|---|---|\n| top-1 | 51.5 | 52.5 |\n')
    (folder / 'ablation.json').write_text('{"settings": {"epochs": 7}}')
    page = report_html(read_runs([*work_dirs, folder]))
    assert 'Levels K' in page and '52.5' in page
    assert 'of ablation' not in page and 'settings.epochs' not in page
    assert report_html(read_runs([folder])).count('of ablation') > 0  # alone, it is told what there could be


def test_command_draws_what_is_missing(tmp_path, monkeypatch, capsys):
    run, root = tmp_path / 'run', Path(__file__).parents[2]
    log(run / '20260101_000000/vis_data', [step(10, loss=1.0, recon_l1=0.4)])
    cfg = Config.fromfile(root / 'tests/fixtures/tiny_config.py')
    cfg.data_root = str(make_image_folder(tmp_path / 'data', val=12))
    cfg.dump(run / 'config.py')
    torch.save({'state_dict': load_repre(cfg, 'random').state_dict(), 'meta': {}}, run / 'epoch_1.pth')
    save_png(np.zeros((20, 20, 3), np.uint8), run / 'attention_heads.png')
    monkeypatch.setattr('sys.argv', ['report.py', str(run), '--draw'])
    runpy.run_path(str(root / 'tools/report.py'), run_name='__main__')
    drawn = {path.stem for path in (run / 'pictures').iterdir()}
    assert drawn == {'reconstruction', 'components', 'embedding', 'retrieval'}
    assert 'picture 4 of 4: retrieval of run' in capsys.readouterr().out
    page = (run / 'report.html').read_text()
    assert page.count('<img') == 5 and 'such picture' not in page
    # The second time there is nothing left to draw; what cannot be drawn does not cost the page.
    (run / 'pictures/embedding.png').unlink()
    cfg.data_root = str(tmp_path / 'nowhere')
    cfg.dump(run / 'config.py')
    runpy.run_path(str(root / 'tools/report.py'), run_name='__main__')
    printed = capsys.readouterr()
    assert 'picture 1 of 1: embedding of run' in printed.out and 'no such folder' in printed.err
    assert (run / 'report.html').read_text().count('<img') == 4


# What the page looks like, as it sees itself from within a frame, written where --dump-dom shows it.
PROBE = """<script>addEventListener('load', () => { const images = [...document.images];
parent.document.title = JSON.stringify({ images: images.filter(i => i.complete && i.naturalWidth > 0).length,
  charts: document.querySelectorAll('.charts svg').length, wide: document.documentElement.scrollWidth,
  width: innerWidth }) })</script>"""


@pytest.mark.parametrize('width', [390, 1280])
def test_browser_shows_the_page_whole(work_dirs, tmp_path, width):
    browser = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if browser is None:
        pytest.skip('no chromium is installed')
    page = tmp_path / 'page.html'
    # In a frame, since no window is as narrow as a phone.
    inner = report_html(read_runs(work_dirs)).replace('</head>', PROBE + '</head>')
    style = f'style="width: {width}px; height: 800px; border: 0"'
    page.write_text(f'<title></title><iframe {style} srcdoc="{html.escape(inner)}"></iframe>', encoding='utf-8')
    options = ['--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--enable-logging=stderr']
    options += [f'--user-data-dir={tmp_path}/profile', '--virtual-time-budget=5000', '--window-size=1400,900']
    result = subprocess.run([browser, *options, '--dump-dom', str(page)], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'CONSOLE' not in result.stderr, result.stderr[-2000:]
    seen = json.loads(html.unescape(re.search(r'<title>(.*?)</title>', result.stdout).group(1)))
    # Tables and pictures may scroll in their boxes, the page must not.
    assert seen == {'images': 5, 'charts': 4, 'wide': width, 'width': width}
