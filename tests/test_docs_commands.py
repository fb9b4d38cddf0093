"""Belongs to the start pages and tutorials: their blocks run in order, as they stand, on toy scenes.

Only what names a user's own data or machine is replaced (``WORDS``), and trainings are made short (``SHORT``).
"""

import re
import shutil
import textwrap
from pathlib import Path

import numpy as np
import pytest
from fixtures.clone import CITYSCAPES, CLS, run
from fixtures.stack import needs
from PIL import Image

DOCS = Path(__file__).resolve().parents[1] / 'docs'
#: Page: the package that it needs.
PAGES = {
    'start/from-nothing.md': None,
    'start/from-mmpretrain.md': None,
    'tutorials/photographs.md': None,
    'tutorials/report.md': None,
    'tutorials/method.md': None,
    'detection.md': 'mmdet',
    'segmentation.md': 'mmseg',
}
#: Installing is tested in tests/test_packaging.py; the demo trains for minutes.
NOT_RUN = re.compile(r'git clone|make demo|\. \.venv|pip install|repre doctor')
WORDS = {
    r'\bDIR\b': CLS,
    r'WORK_DIR \.\.\.': 'work_dirs/toy',
    r'work_dirs/demo': 'work_dirs/toy',
    # For a CPU, in the place of those for a GPU.
    r'repre_mocov3_vit-small_24gb(?! --data \S+ --check)': 'repre_mocov3_vit-tiny_cpu',
    r'epoch_(300|5)\.pth': 'epoch_1.pth',
    r'iter_250\.pth': 'iter_2.pth',
    r'person car': 'bird car',
}
#: Added to a training: one epoch, or two iterations.
SHORT = {
    'setr-naive': '--cfg-options train_cfg.max_iters=2 train_cfg.val_interval=2 param_scheduler="[]"',
    '': '--epochs 1',
}
FENCE = re.compile(r'^```(\w*)\n(.*?)^```', re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r'^    ((?:python tools/|repre ).*)$', re.MULTILINE)


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of each block, in order; the language of commands is ''."""
    text = (DOCS / page).read_text()
    fenced = [(found.start(), found[1], found[2]) for found in FENCE.finditer(text)]
    indented = [
        (found.start(), '', found[1]) for found in INDENTED.finditer(FENCE.sub(lambda m: ' ' * len(m[0]), text))
    ]
    return [(language, body) for _, language, body in sorted(fenced + indented)]


def filled(text: str) -> str:
    for pattern, word in WORDS.items():
        text = re.sub(pattern, word, text)
    return text


def commands(text: str) -> list[str]:
    lines = [line for line in filled(text).splitlines() if line.strip() and not NOT_RUN.search(line)]
    return [
        f'{line} {next(SHORT[name] for name in SHORT if name in line)}' if is_training(line) else line for line in lines
    ]


def is_training(line: str) -> bool:
    return bool(re.search(r'repre train|tools/train\.py', line)) and not re.search('--check|--epochs', line)


def run_python(text: str, folder: Path) -> None:
    """Save a block under the name that its page gives it, or run it; parts of a config are only read."""
    name = next(
        (name for mark, name in (('register_module', 'my_method.py'), ('_base_', 'my_config.py')) if mark in text), ''
    )
    compile(text, name, 'exec')
    if name:
        (folder / name).write_text(text)
    elif not re.search(r'=\.\.\.|^(init_cfg|dataset) = ', text, re.MULTILINE):
        guarded = 'if __name__ == "__main__":\n' + textwrap.indent(filled(text), '    ')  # it may start processes
        (folder / 'block.py').write_text(guarded)
        run('python block.py', folder)


def prepare(folder: Path) -> None:
    """The data that the pages talk of, under the names that they use."""
    (folder / 'my_config.py').write_text("_base_ = 'repre_mm::toy/repre_simclr_vit-tiny_toy.py'\n")
    # As many as the warm-up of the toy config needs.
    run('repre toy-scenes mine_toy --num-train 10 --num-val 10 --num-scenes-train 96 --num-scenes-val 4', folder)
    (folder / 'mine').symlink_to('mine_toy/coco')
    annotations = folder / 'mine/annotations'
    shutil.copy(annotations / 'instances_val2017.json', annotations / 'instances_test2017.json')
    shutil.copytree(folder / 'mine/val2017', folder / 'mine/test2017')
    for split, source in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        for kind, ending in (('photos', 'leftImg8bit'), ('masks', 'gtFine_labelTrainIds')):
            (folder / kind / split).mkdir(parents=True)
            for path in sorted((folder / CITYSCAPES).rglob(f'{source}/**/*_{ending}.png')):
                pixels = np.array(Image.open(path))
                if kind == 'masks':
                    pixels = np.minimum(pixels, 11)
                Image.fromarray(pixels).save(folder / kind / split / path.name.replace(f'_{ending}', ''))
    shutil.copy(next((folder / 'photos/val').iterdir()), folder / 'photo.jpg')


@pytest.fixture(scope='module')
def prepared(clone) -> Path:
    prepare(clone)
    return clone


@pytest.mark.parametrize('page', PAGES)
def test_blocks_are_found_and_their_python_compiles(page):
    found = blocks(page)
    assert any(commands(text) for language, text in found if not language)
    for language, text in found:
        assert language in ('', 'python')
        if language:
            compile(text, page, 'exec')
        for line in commands(text) if not language else ():
            assert re.match(r'(PYTHONPATH=\. )?(repre|python tools/\w+\.py) ', line), line


@pytest.mark.slow
@pytest.mark.parametrize('page', PAGES)
def test_blocks_run_in_order(page, prepared):
    if PAGES[page]:
        needs(PAGES[page])
    for language, text in blocks(page):
        if language:
            run_python(text, prepared)
        else:
            for line in commands(text):
                run(line, prepared)
