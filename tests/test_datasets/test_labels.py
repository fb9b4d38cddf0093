"""Labels that are missing, or of no class; those of class folders are tested with image folders."""

import pytest

from repre_mm.datasets import DatasetError, ImageFolder


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('', r'a\.txt names no image: write one path a line'),
        (
            'a.jpg\tcat\textra\n',
            r"a\.txt, line 1: write a path, or a path and a label, not \['a.jpg', 'cat', 'extra'\]",
        ),
        (
            'a.jpg\tcat\nb.jpg\n',
            r'labels=True needs every line or entry of .*a\.txt with a label, but .*b\.jpg has none',
        ),
        ('a.jpg\tcat\nb.jpg\tcow\n', r"b\.jpg is of class 'cow', which is not among the 2 classes"),
        ('a.jpg\t0\nb.jpg\t2\n', r'b\.jpg is of class 2, which is not among the 2 classes .*numbered from 0'),
    ],
)
def test_bad_lists(content, message, tmp_path):
    (tmp_path / 'a.txt').write_text(content)
    with pytest.raises(DatasetError, match=message):
        ImageFolder(tmp_path / 'a.txt', labels=True, metainfo={'classes': ('cat', 'dog')})
