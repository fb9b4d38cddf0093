"""Warnings from our own code are errors in tests; those of others stay warnings."""

import warnings

import pytest


@pytest.mark.parametrize('module', ['repre_mm.engine.x', 'fixtures.data', 'test_knn', 'tests.test_engine.test_runner'])
def test_our_own_are_errors(module):
    with pytest.raises(DeprecationWarning, match='old'):
        warnings.warn_explicit('old', DeprecationWarning, 'x.py', 1, module=module)


def test_a_warning_from_here_is_an_error():
    with pytest.raises(UserWarning, match='here'):
        warnings.warn('here', stacklevel=1)


@pytest.mark.parametrize('module', ['torch.nn', 'mmpretrain.models', 'mmengine.optim'])
def test_those_of_others_are_not(module):
    with warnings.catch_warnings(record=True) as caught:  # the filters are as they were
        warnings.warn_explicit('theirs', UserWarning, 'x.py', 1, module=module)
    assert [str(each.message) for each in caught] == ['theirs']
