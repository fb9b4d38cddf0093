"""Files are written whole or not at all."""

import pytest

from repre_mm.utils.atomic import write_atomically


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
