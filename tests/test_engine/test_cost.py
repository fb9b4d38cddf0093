"""The cost columns of the README's table, from a counted step of each config; the full-size ones are slow."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from repre_mm.engine.cost import count_cost

ROOT = Path(__file__).parents[2]
ROW = re.compile(r'\| \[[^]]+\]\((configs/[^)]+)\) \| [^|]+ \| ([\d.]+) \| ([\d.]+) \|')
ROWS = ROW.findall((ROOT / 'README.md').read_text())


def test_every_pretraining_config_has_a_row():
    listed = {path for path, _, _ in ROWS}
    present = {
        str(p.relative_to(ROOT)) for folder in ('pretrain', 'toy') for p in (ROOT / 'configs' / folder).rglob('*.py')
    }
    assert listed == present


def is_slow(path: str) -> bool:
    return 'pretrain' in path


@pytest.mark.parametrize(
    ('path', 'params', 'macs'),
    [pytest.param(*row, marks=[pytest.mark.slow] if is_slow(row[0]) else []) for row in ROWS],
)
def test_row_is_what_a_step_costs(path, params, macs):
    cost = count_cost(Config.fromfile(ROOT / path))
    assert f'{cost.encoder_params / 1e6:.1f}' == params
    assert f'{cost.step_macs / 1e9:.{len(macs.split(".")[1])}f}' == macs
