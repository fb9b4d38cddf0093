"""Tables of images, read by the package ``datasets``: Parquet, saved on disk, or by name on a hub."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from repre_mm.datasets.listing import DatasetError
from repre_mm.datasets.reading import ImageReadError, read_bytes
from repre_mm.datasets.sources.base import Entry, Source
from repre_mm.datasets.storage import expand, explained, version

HUB = 'hf:'
_IMAGES, _LABELS = ('image', 'img', 'jpg', 'bytes'), ('label', 'cls')


def is_saved(place: str) -> bool:
    """Return whether a folder was written by ``save_to_disk``."""
    return any((Path(place) / name).is_file() for name in ('dataset_dict.json', 'state.json'))


class HuggingFace(Source):
    """The images of tables, in the order of their rows.

    Images are in the first column of the type ``Image``, or in ``image`` (``img``, ``jpg``, ``bytes``), as the bytes of
    files, alone or in a struct; ``label`` (``cls``) holds names or numbers of classes. ``datasets`` copies Parquet into
    its cache once, from where it reads any row.

    Args:
        place: Parquet files, a folder that ``save_to_disk`` wrote, or ``hf:NAME``.
        extensions: Not used: rows have no names.
        split: One of the data set's; may be left out where there is only one.
    """

    def __init__(self, place: str, extensions: object = (), split: str | None = None) -> None:
        super().__init__(place)
        self.split = split

    @cached_property
    def _tables(self) -> list[tuple[str, Any]]:
        """Names and tables, of a column of images and, where there are some, one of labels."""
        if self.place.lower().endswith('.parquet'):
            return [self._open(path) for path in expand(self.place)]
        return [self._open(self.place)]

    def _open(self, name: str) -> tuple[str, Any]:
        with explained(name):
            import datasets

            if name.lower().endswith('.parquet'):
                self.watched[name] = version(name)
                data = datasets.Dataset.from_parquet(name)
            elif is_saved(path := name.removeprefix(HUB)):
                data = datasets.load_from_disk(path)
            else:
                data = datasets.load_dataset(path)
            if isinstance(data, dict):
                split = self.split or (next(iter(data)) if len(data) == 1 else None)
                if split not in data:
                    raise DatasetError(f'{name} has no split {split!r}, only {", ".join(data)}')
                data = data[split]
            elif self.split not in (None, 'train'):
                raise DatasetError(f'{name} has no splits: there is no {self.split!r}')
            images = [key for key, feature in data.features.items() if isinstance(feature, datasets.Image)]
            images += [key for key in _IMAGES if key in data.features]
            if not images:
                raise DatasetError(f'{name} has no column of images, only {", ".join(data.features)}')
            labels = [key for key in _LABELS if key in data.features]
            data = data.select_columns([images[0], *labels[:1]])
            return name, data.cast_column(images[0], datasets.Image(decode=False))

    def entries(self) -> Iterator[Entry]:
        """List the rows; see :meth:`Source.entries`."""
        for number, (_, table) in enumerate(self._tables):
            labels = [None] * len(table)
            for column in table.column_names[1:]:
                labels, self.classes = table[column][:], getattr(table.features[column], 'names', None)
            for row, label in enumerate(labels):
                entry = {'img_path': str(row), 'at': (number, row)}
                yield entry if label is None else {**entry, 'label': label}

    def read(self, entry: Entry) -> bytes:
        """Read the image of one row; see :meth:`Source.read`."""
        number, row = entry['at']
        image = next(iter(self._tables[number][1][row].values()))
        if image['bytes']:
            return image['bytes']
        if not image['path']:
            raise ImageReadError(self.name(entry), 'the row holds no image')
        return read_bytes(image['path'])

    def name(self, entry: Entry) -> str:
        """Name an image by its row: ``folder:12`` or ``file.parquet:12``."""
        return f'{self._tables[entry["at"][0]][0]}:{entry["img_path"]}'
