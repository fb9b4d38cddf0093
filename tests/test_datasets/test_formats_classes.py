"""Names of classes, from the command line or a file."""

import json

import pytest

from repre_mm.datasets.formats.classes import find_classes
from repre_mm.datasets.listing import DatasetError


def test_classes_from_the_user_or_a_file(tmp_path):
    assert find_classes(tmp_path) is None
    (tmp_path / 'classes.txt').write_text('sky\nroad\n\n')
    assert find_classes(tmp_path) == (['sky', 'road'], [])
    entries = [{'trainId': 1, 'name': 'b', 'color': [1, 2, 3]}, {'trainId': 0, 'name': 'a', 'color': [4, 5, 6]}]
    (tmp_path / 'classes.json').write_text(json.dumps({'classes': [*entries, {'trainId': 255, 'name': 'void'}]}))
    assert find_classes(tmp_path) == (['a', 'b'], [[4, 5, 6], [1, 2, 3]])
    assert find_classes(tmp_path, ['3']) == (['class 0', 'class 1', 'class 2'], [])
    assert find_classes(tmp_path, ['x', 'y']) == (['x', 'y'], [])
    assert find_classes(tmp_path, [str(tmp_path / 'classes.txt')]) == (['sky', 'road'], [])


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (['names.txt'], '--classes names.txt: there is no such file'),
        (['x', 'y', 'x'], '--classes must name one class at least, and none of them twice: x y x'),
        (['0'], '--classes 0: there must be one class at least'),
    ],
)
def test_bad_classes_on_the_command_line(tmp_path, given, message):
    with pytest.raises(DatasetError, match=message):
        find_classes(tmp_path, given)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{', 'is no JSON'),
        ('{"names": []}', 'must hold a list of classes'),
        ('["a", "a"]', 'none of them twice'),
        ('[{"name": "a"}]', 'have "name" and "trainId"'),
        ('[{"name": "a", "trainId": 0}, {"name": "b", "trainId": 2}]', 'trainIds must be 0 to 1'),
    ],
)
def test_bad_files_of_classes(tmp_path, content, message):
    path = tmp_path / 'classes.json'
    path.write_text(content)
    with pytest.raises(DatasetError, match=message):
        find_classes(tmp_path)
