"""A full disk does not end a training when a line of numbers cannot be written."""

import errno
import json

import pytest
from mmengine.logging import MMLogger
from mmengine.visualization import LocalVisBackend as UpstreamLocalVisBackend

from repre_mm.engine import LocalVisBackend


def test_failed_writes_are_reported_once_in_a_row(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(MMLogger, 'warning', lambda logger, text: warnings.append(text))
    backend = LocalVisBackend(str(tmp_path))
    real = UpstreamLocalVisBackend._dump
    full = iter((False, True, True, False, True))

    def dump(*args, **kwargs):
        if next(full):
            raise OSError(errno.ENOSPC, 'No space left on device')
        real(*args, **kwargs)

    monkeypatch.setattr(UpstreamLocalVisBackend, '_dump', dump)
    for step in range(5):
        backend.add_scalar('loss', float(step), step)
    assert [text.split(':')[0] for text in warnings] == ['could not log numbers'] * 2
    lines = [json.loads(line) for line in (tmp_path / 'scalars.json').read_text().splitlines()]
    assert [line['step'] for line in lines] == [0, 3]


def test_other_errors_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(UpstreamLocalVisBackend, '_dump', lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        LocalVisBackend(str(tmp_path)).add_scalar('loss', 1.0, 0)
