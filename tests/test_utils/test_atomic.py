"""Files are written whole or not at all."""

import json

import pytest

from repre_mm.utils.atomic import write_atomically, write_json


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')

    def fail(draft):
        draft.write_text('half')
        raise OSError('no space left')

    with pytest.raises(OSError, match='no space left'):
        write_atomically(path, fail)
    assert [each.name for each in tmp_path.iterdir()] == ['a.txt']
    assert path.read_text() == 'old'
    write_atomically(path, lambda draft: draft.write_text('new'))
    assert [each.name for each in tmp_path.iterdir()] == ['a.txt']
    assert path.read_text() == 'new'


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / 'result.json'
    write_json({'top1': 50.0}, path)
    with pytest.raises(TypeError):
        write_json({'top1': object()}, path)
    assert json.loads(path.read_text()) == {'top1': 50.0} and list(tmp_path.iterdir()) == [path]
