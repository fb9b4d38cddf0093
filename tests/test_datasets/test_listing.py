"""Listing of folders; what is refused is tested with image folders."""

from pathlib import Path

from repre_mm.datasets.listing import find_images, list_folder, other_kinds, walk


def put(root: Path, *names: str) -> Path:
    """Make empty files: a listing reads names only."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_any_nesting_sorted_hidden_skipped(tmp_path):
    put(tmp_path, 'b/deep/er/2.jpg', 'a.PNG', 'b/1.JPEG', '.hidden/3.jpg', '.4.jpg', 'notes.txt', 'b/README')
    assert find_images(tmp_path) == ['a.PNG', 'b/1.JPEG', 'b/deep/er/2.jpg']
    assert find_images(tmp_path, ['.PNG']) == ['a.PNG']
    assert other_kinds(list_folder(tmp_path).others) == {'.txt': 1, '(no extension)': 1}


def test_links_are_followed_without_loops(tmp_path):
    put(tmp_path / 'store', 'x/1.png')
    data = put(tmp_path / 'data', 'y/2.png')
    (data / 'z').symlink_to(tmp_path / 'store')
    (data / 'y' / 'up').symlink_to(data)
    (data / 'y' / '3.png').symlink_to(tmp_path / 'store' / 'x' / '1.png')
    (data / 'y' / 'dead.png').symlink_to(tmp_path / 'gone.png')
    assert find_images(data) == ['y/2.png', 'y/3.png', 'z/x/1.png']
    assert list_folder(data).broken_links == ['y/dead.png']


def test_a_walk_goes_step_by_step(tmp_path):
    put(tmp_path, *(f'{folder}/{index}.png' for folder in 'abc' for index in range(2)))
    assert [len(listing.images) for listing in walk(tmp_path)] == [0, 2, 4, 6]
    counts = []
    for listing in walk(tmp_path, shuffle=list.sort):
        counts.append(len(listing.images))
        if counts[-1] >= 2:
            break
    assert counts == [0, 2] and all(path.startswith('c/') for path in listing.images)
