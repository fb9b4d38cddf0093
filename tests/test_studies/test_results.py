"""Results as files and as tables."""

import json

import pytest

from repre_mm.studies.results import markdown_table, write_json


def test_files_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / 'result.json'
    write_json({'top1': 50.0}, path)
    with pytest.raises(TypeError):
        write_json({'top1': object()}, path)
    assert json.loads(path.read_text()) == {'top1': 50.0} and list(tmp_path.iterdir()) == [path]


def test_tables_have_a_head_and_a_line_per_row():
    assert markdown_table(['a', 'b'], [['1', '2'], ['3', '-']]) == ['| a | b |', '|---|---|', '| 1 | 2 |', '| 3 | - |']
