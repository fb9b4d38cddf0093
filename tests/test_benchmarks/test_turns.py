"""tools/benchmarks/turns.py: processes that take turns, so that benchmarks compare them on an equal footing."""

import sys
import time
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools/benchmarks'
SCRIPT = f"""
import sys, threading, time
sys.path.insert(0, {str(TOOLS)!r})
from turns import Desk

desk = Desk()
print('chatter that is no answer')
ticks = [0]
def tick():
    while True:
        ticks[0] += 1
        time.sleep(0.005)
threading.Thread(target=tick, daemon=True).start()

def work(command):
    if 'fail' in command:
        raise SystemExit('this is why')
    ticks[0] = 0
    time.sleep(command.get('work', 0))
    return {{'ticks': ticks[0], 'settings': sys.argv[2]}}

desk.serve(work)
"""


@pytest.fixture
def turns(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    import turns

    yield turns
    sys.modules.pop('turns')


@pytest.fixture
def script(tmp_path) -> str:
    path = tmp_path / 'script.py'
    path.write_text(SCRIPT)
    return str(path)


def is_stopped(pid: int) -> bool:
    """A signal takes its time on a busy machine."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] == 'T':
            return True
        time.sleep(0.01)
    return False


def test_a_contestant_stands_still_between_its_turns(turns, script):
    one = turns.Contestant(script, {'name': 'one'})
    assert is_stopped(one._process.pid)
    assert one.ask(work=0.2)['ticks'] > 5
    assert is_stopped(one._process.pid)
    assert one.ask()['settings'] == '{"name": "one"}'
    one.end()
    assert one._process.poll() is not None


def test_a_contestant_that_dies_says_why(turns, script):
    with pytest.raises(RuntimeError, match='this is why'):
        turns.Contestant(script, {}).ask(fail=True)


def test_turns_alternate_in_order(turns):
    order = []

    class Fake:
        def __init__(self, name):
            self.name = name

        def ask(self, **command):
            order.append(self.name)
            return command

    answers = turns.in_turn({name: Fake(name) for name in 'ab'}, 2, lambda: None, steps=1)
    assert order == ['a', 'b', 'b', 'a']
    assert answers == {'a': [{'steps': 1}] * 2, 'b': [{'steps': 1}] * 2}
