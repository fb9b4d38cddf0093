"""Background tasks run one after another."""

import threading

import pytest

from repre_mm.engine.resilience.background import run_in_background, wait_for_background


def test_one_piece_of_work_after_another():
    gate, order = threading.Event(), []
    first = run_in_background(lambda: (gate.wait(20), order.append('first')))
    second = run_in_background(lambda: order.append('second'))
    third = run_in_background(lambda: 1 / 0)
    assert (first.done(), second.done(), order) == (False, False, [])
    gate.set()
    wait_for_background()
    assert order == ['first', 'second']
    with pytest.raises(ZeroDivisionError):
        third.result()
