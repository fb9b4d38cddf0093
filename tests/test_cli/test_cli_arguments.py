"""Arguments that several commands share."""

import re
import runpy
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.mark.parametrize(
    'tool',
    [
        'knn.py',
        'linear_probe.py',
        'linear_eval.py',
        'test.py',
        'visualize.py attention',
        'part_study.py',
        'patch_retrieval.py',
        'train.py',
        'export.py',
        'inspect_checkpoint.py',
    ],
)
def test_every_tool_that_reads_an_encoder_chooses_its_network_alike(tool, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [*tool.split(), '--help'])
    module = runpy.run_path(str(TOOLS / tool.split()[0]))
    with pytest.raises(SystemExit, match='0'):
        module.get('parse_args', module['main'])()
    printed = re.sub(r'\s+', ' ', capsys.readouterr().out)
    for text in (
        "--prefix PREFIX where in the file the encoder is, if not where it is found ('': all of it)",
        "--encoder {online,target} the network to take (default: the one that the method's authors evaluate",
        '--trust unpickle the file: it may run code; for trusted files',
    ):
        assert text in printed
