"""Data sets of the package ``datasets``: saved on disk, or by name on a hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from repre_mm.datasets.listing import DatasetError
from repre_mm.datasets.reading import ImageReadError, read_bytes
from repre_mm.datasets.sources.base import Entry, Source
from repre_mm.datasets.storage import explained

HUB = 'hf:'


def is_saved(place: str) -> bool:
    """Return whether a folder was written by ``save_to_disk``."""
    return any((Path(place) / name).is_file() for name in ('dataset_dict.json', 'state.json'))


class HuggingFace(Source):
    """The images of a data set of the package ``datasets``, in the order of its rows.

    Args:
        place: A folder that ``save_to_disk`` wrote, or ``hf:NAME``.
        split: One of the data set's; may be left out where there is only one.
        extensions: Not used: rows have no names.
    """

    def __init__(self, place: str, split: str | None, extensions: object = ()) -> None:
        super().__init__(place)
        with explained(place):
            import datasets

            name = place.removeprefix(HUB)
            data = datasets.load_dataset(name) if place.startswith(HUB) else datasets.load_from_disk(name)
            if isinstance(data, dict):
                split = split or (next(iter(data)) if len(data) == 1 else None)
                if split not in data:
                    raise DatasetError(f'{place} has no split {split!r}, only {", ".join(data)}')
                data = data[split]
            elif split not in (None, 'train'):
                raise DatasetError(f'{place} has no splits: there is no {split!r}')
            images = [key for key, feature in data.features.items() if isinstance(feature, datasets.Image)]
            if not images:
                raise DatasetError(f'{place} has no column of images, only {", ".join(data.features)}')
            self._column = images[0]
            self._data: Any = data.cast_column(self._column, datasets.Image(decode=False))
        self.classes = getattr(data.features.get('label'), 'names', None)

    def entries(self) -> Iterator[Entry]:
        """List the rows; see :meth:`Source.entries`."""
        count = len(self._data)
        labels = self._data['label'] if 'label' in self._data.features else [None] * count
        for row, label in zip(range(count), labels, strict=True):
            entry = {'img_path': str(row), 'at': row}
            yield entry if label is None else {**entry, 'label': label}

    def read(self, entry: Entry) -> bytes:
        """Read the image of one row; see :meth:`Source.read`."""
        image = self._data[entry['at']][self._column]
        if image['bytes']:
            return image['bytes']
        if not image['path']:
            raise ImageReadError(self.name(entry), 'the row holds no image', 'empty')
        return read_bytes(image['path'])

    def name(self, entry: Entry) -> str:
        """Name an image by its row: ``folder:12``."""
        return f'{self.place}:{entry["img_path"]}'
