"""Exceptions of constructors and layers become lines that name culprit and fix."""

import pytest
import torch
from mmengine.registry import Registry
from torch import nn

from repre_mm.engine.checks.explain import explain, failing_layer, first_line

PARTS = Registry('parts of this test')


@PARTS.register_module()
class Inner:
    def __init__(self, width: int = 1) -> None:
        assert width > 0


@PARTS.register_module()
class Outer:
    def __init__(self, depth: int, inner: dict, **kwargs) -> None:
        self.inner = PARTS.build(inner)
        dict().update(nonsense=1, **kwargs)
        range(depth, unknown=1) if depth == 7 else None


@pytest.mark.parametrize(
    ('config', 'text'),
    [
        (dict(type='Inner', widht=3), "Inner takes no argument 'widht'; did you mean width?"),
        (dict(type='Inner', colour=3), "Inner takes no argument 'colour'"),
        (dict(type='Inner', width=0), 'Inner: assert 0 > 0'),
        (dict(type='Outer', inner={}), "Outer needs 'depth'"),
        (dict(type='Outer', depth=1, inner=dict(type='Inner', width=0)), 'Inner: assert 0 > 0'),
        (dict(type='Outer', depth=7, inner=dict(type='Inner')), 'Outer: range() takes no keyword arguments'),
    ],
)
def test_what_a_constructor_says(config, text):
    with pytest.raises((TypeError, AssertionError)) as raised:
        PARTS.build(config)
    assert explain(raised.value).startswith(text)


def test_an_error_without_a_message():
    assert first_line(KeyError()) == 'KeyError'
    assert first_line(KeyError('x')) == 'x'
    assert explain(ValueError('one\ntwo')) == 'one'


def test_the_innermost_layer_is_named():
    model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Linear(5, 6)))
    with pytest.raises(RuntimeError) as raised:
        model(torch.zeros(2, 3))
    assert failing_layer(raised.value, model, 'model').startswith('model.1.0 fails (mat1 and mat2 shapes')
