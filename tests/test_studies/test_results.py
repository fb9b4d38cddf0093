"""Tables in Markdown."""

from repre_mm.studies.results import markdown_table


def test_tables_have_a_head_and_a_line_per_row():
    assert markdown_table(['a', 'b'], [['1', '2'], ['3', '-']]) == ['| a | b |', '|---|---|', '| 1 | 2 |', '| 3 | - |']
