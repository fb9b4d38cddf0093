"""Names of classes, from the command line or a file."""

import pytest

from repre_mm.datasets.formats.classes import find_classes
from repre_mm.datasets.listing import DatasetError


def test_classes_from_the_user_or_a_file(tmp_path):
    assert find_classes(tmp_path) == []
    (tmp_path / 'classes.txt').write_text('sky\nroad\n\n')
    assert find_classes(tmp_path) == ['sky', 'road']
    assert find_classes(tmp_path, ['3']) == ['class 0', 'class 1', 'class 2']
    assert find_classes(tmp_path, ['x', 'y']) == ['x', 'y']
    assert find_classes('', [str(tmp_path / 'classes.txt')]) == ['sky', 'road']


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (['names.txt'], r'names\.txt cannot be read \(No such file or directory\): name another with --classes'),
        (['x', 'y', 'x'], r'must name one class at least, and none twice: x y x'),
        (['0'], 'must name one class at least'),
    ],
)
def test_bad_classes(tmp_path, given, message):
    with pytest.raises(DatasetError, match=message):
        find_classes(tmp_path, given)
