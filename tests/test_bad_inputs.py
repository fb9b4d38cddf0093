"""Every bad input gives one clear message and changes nothing; the table in docs/ is of these."""

import re
import tempfile
from pathlib import Path

import pytest
from fixtures.bad_inputs import CASES, rights_can_be_dropped, run_case

PAGE = (Path(__file__).parents[1] / 'docs/bad-inputs.md').read_text()


@pytest.fixture
def folder():
    # Not tmp_path, which nobody but its owner can enter.
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.mark.parametrize('case', CASES, ids=lambda case: f'{case.group}-{case.what}')
def test_one_message_and_nothing_else(case, folder):
    assert case.culprit and case.fix
    if case.unprivileged and not rights_can_be_dropped():
        pytest.skip('needs a user without rights, who can read the code')
    outcome = run_case(case, folder)
    assert not outcome.crashed, outcome.message
    assert outcome.failed
    assert case.culprit in outcome.message
    assert case.fix in outcome.message
    assert outcome.changed == ()


def test_the_table_is_of_these():
    assert len(CASES) >= 60
    rows = re.findall(r'^\| (?!what is bad|---)(.+?) \| `tools/', PAGE, re.MULTILINE)
    assert rows == [case.what for case in CASES]
