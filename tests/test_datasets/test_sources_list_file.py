"""List files: paths, URLs, labels."""

from repre_mm.datasets import open_source


def test_lists(tmp_path):
    (tmp_path / 'a.txt').write_text('x y.jpg 3\n\nb.jpg\tcat\n/c.jpg\nhttps://host/d e.jpg\n')
    source = open_source(tmp_path / 'a.txt')
    entries = source.images()
    assert [entry.get('label') for entry in entries] == [3, 'cat', None, None]
    names = [f'{tmp_path}/x y.jpg', f'{tmp_path}/b.jpg', '/c.jpg', 'https://host/d e.jpg']
    assert [source.name(entry) for entry in entries] == names
    (tmp_path / 'b.csv').write_text('Path,label\n"a, b.jpg",cat\nc.jpg,dog\n')
    assert [entry['img_path'] for entry in open_source(tmp_path / 'b.csv').images()] == ['a, b.jpg', 'c.jpg']
