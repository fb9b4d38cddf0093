"""Belongs to docs/commands.md: its tables' commands, run as they stand on toy scenes, in a clone and by `repre`."""

import re
from pathlib import Path

import pytest
from fixtures.clone import CITYSCAPES, CLS, run
from fixtures.stack import needs
from mmengine.config import Config

from repre_mm.cli.main import COMMANDS
from repre_mm.engine.checks.names import option_faults

ROOT = Path(__file__).resolve().parents[1]
ROWS = [line.split('|')[-2] for line in (ROOT / 'docs/commands.md').read_text().splitlines() if line.startswith('| ')]
TOOLS = re.compile('`((?:python tools/|bash tools/|--(?:cfg-options|traceback))[^`]*)`')
COMMAND_LINES = [line for row in ROWS for line in TOOLS.findall(row) if 'slurm' not in line]
SUBCOMMANDS = {f'python tools/{file}.py': f'repre {name}' for name, (file, _) in COMMANDS.items()}

ENCODER = 'toy.py work_dirs/toy/epoch_3.pth'
PARTS = 'data/toy_scenes/parts/annotations/parts_'
#: What the capital words mean; '...' means that more of them may follow.
WORDS = {
    'CHECKPOINT': 'work_dirs/setr/iter_2.pth',
    'CONFIG': 'toy.py',
    'DIR': CLS,
    'ENCODER': ENCODER,
    'FILE': 'work_dirs/toy/epoch_3.pth',
    'OUT': 'encoder.pth',
    'RESULTS_DIR': 'work_dirs',
    'WORK_DIR': 'work_dirs/toy',
    '...': '',
    '8': '2',
}
#: The same for single commands, which are about segmentation.
SEGMENTATION = {'CONFIG': 'setr.py', 'DIR': CITYSCAPES, 'ENCODER': ENCODER.replace(' ', ':')}
#: What a command needs besides what the page says of it: other arguments, or fewer trainings.
ADDED = {
    'linear_probe.py': f'{ENCODER} --data {CLS}',
    'linear_eval.py': f'{ENCODER} --data {CLS} --epochs 1',
    'ablation.py': f"--study features --method 'MoCo v3' --epochs 3 --data {CLS}",
    'part_study.py': f'--encoders toy=toy.py:work_dirs/toy/epoch_3.pth --protocol quick --out parts '
    f'--train-ann {PARTS}train.json --train-images {CLS}/train --val-ann {PARTS}val.json --val-images {CLS}/val',
    'patch_retrieval.py': f'{ENCODER} --data {CLS}/val --query query.jpg --box 8 8 16 16',
}


def completed(line: str) -> str:
    """A command of the page with every placeholder filled in."""
    words = WORDS | (SEGMENTATION if re.search('--pretrained|tools/(test|predict).py', line) else {})
    if line.startswith('--'):  # options of a training: the sharded one takes two processes
        line = f'{"bash tools/dist_train.sh CONFIG 2" if "Sharded" in line else "python tools/train.py CONFIG"} {line}'
    line = ' '.join([words.get(word, word) for word in line.split()])
    return ' '.join([line, *(words for tool, words in ADDED.items() if f'/{tool}' in line)])


@pytest.fixture(scope='module')
def segmenter(clone) -> None:
    needs('mmseg')
    run(f'repre train setr.py --data {CITYSCAPES}', clone)


def test_every_placeholder_of_the_tables_is_known():
    assert len(COMMAND_LINES) > 20
    for line in COMMAND_LINES:
        assert set(re.findall(r'\b[A-Z]{3,}(?:_[A-Z]+)?\b', line)) <= set(WORDS), line


def test_every_option_that_the_pages_set_is_one_that_is_read():
    pages = [*(ROOT / 'docs').rglob('*.md'), ROOT / 'README.md', *(ROOT / 'configs').rglob('*.py')]
    text = ''.join(page.read_text() for page in pages if page.name != 'bad-inputs.md')
    options = {
        option for line in re.findall('--cfg-options ([^`\n]*)', text) for option in re.findall(r'([\w.]+)=', line)
    }
    assert len(options) > 5
    assert not list(option_faults(Config(), sorted(options)))


@pytest.mark.slow
@pytest.mark.parametrize('way', ['clone', 'repre'])
@pytest.mark.parametrize('line', COMMAND_LINES)
def test_command_runs_as_it_stands(line, way, clone, request):
    if re.search(r'tools/(test|predict)\.py', line):
        request.getfixturevalue('segmenter')
    if '--pretrained' in line:
        needs('mmseg')
    command = completed(line)
    if way == 'repre':
        program = ' '.join(command.split()[:2])
        if program not in SUBCOMMANDS:
            pytest.skip('a shell script, for clones')
        command = command.replace(program, SUBCOMMANDS[program])
    run(command, clone)
