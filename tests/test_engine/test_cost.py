"""The cost columns of docs/configs.md, from a counted step of each config (slow at full size)."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from repre_mm.engine.cost import count_cost

ROOT = Path(__file__).parents[2]
LINK = r'\| \[[^]]+\]\((?:\.\./)?(configs/[^)]+)\) '
NUMBER = r'\| ([\d.]+) '
ROW = re.compile(LINK + LINK + rf'(?:\| [^|]+ \| \d+ )?{NUMBER}{NUMBER}{NUMBER}\|')


def rows() -> list[tuple[str, str, str]]:
    """Config, parameters and multiply-adds, as they are written."""
    found = []
    for plain, repre, params, plain_macs, repre_macs in ROW.findall((ROOT / 'docs/configs.md').read_text()):
        found += [(plain, params, plain_macs), (repre, params, repre_macs)]
    return found


def test_every_pretraining_config_has_a_row():
    present = [*(ROOT / 'configs/pretrain').rglob('*.py'), *(ROOT / 'configs/toy').glob('*.py')]
    assert {path for path, _, _ in rows()} == {str(path.relative_to(ROOT)) for path in present}


@pytest.mark.parametrize(
    ('path', 'params', 'macs'),
    [pytest.param(*row, marks=[pytest.mark.slow] if 'pretrain' in row[0] else []) for row in rows()],
)
def test_row_is_what_a_step_costs(path, params, macs):
    cost = count_cost(Config.fromfile(ROOT / path))
    assert f'{cost.encoder_params / 1e6:.1f}' == params
    assert f'{cost.step_macs / 1e9:.{len(macs.split(".")[1])}f}' == macs
