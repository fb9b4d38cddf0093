"""The interface of a place that images are read from."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from tqdm import tqdm

from repre_mm.datasets.listing import IMAGE_EXTENSIONS, DatasetError
from repre_mm.datasets.reading import decode_image
from repre_mm.datasets.storage import read_part

#: What is known of one image. ``img_path``: its name within the place. ``label``, where the place has labels: the name
#: of a class, or its number. ``at``, where :meth:`Source.read` needs more than the name: where the bytes are.
Entry = dict[str, Any]


class Source(ABC):
    """Images in one place.

    A source keeps no file and no connection open, so that loading processes can be forked from the one that made it:
    what it knows of each image is in the entries, plain data that the dataset packs and shares.

    Args:
        place: A path, a URL, or a pattern of several.
        extensions: Extensions of images, in any case.
    """

    #: Whether names are paths whose first folder may be the class.
    tree = False
    #: The split and the files that were chosen, where the place alone does not say them.
    split: str | None = None
    files: Sequence[str] = ()

    def __init__(self, place: str, extensions: Sequence[str] = IMAGE_EXTENSIONS) -> None:
        self.place = place
        self.extensions = tuple(extension.lower() for extension in extensions)
        #: Names of the classes that numbers stand for, where the place has them; known once it is listed.
        self.classes: list[str] | None = None
        #: Extension -> number of files passed over; complete once all entries are listed.
        self.passed_over: Counter[str] = Counter()
        #: What was read to list the place -> its version then; empty where changes cannot be seen without listing.
        self.watched: dict[str, Any] = {}

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """List the images one by one, in an order that never changes.

        Raises:
            DatasetError: The place cannot be listed.
        """

    def read(self, entry: Entry) -> bytes:
        """Read the file of one image.

        Raises:
            ImageReadError: This image cannot be read.
            DatasetError: Nothing can be read here, now.
        """
        return read_part(self.name(entry))

    def pixels(self, entry: Entry, **decoding: Any) -> np.ndarray:
        """Read and decode one image; see :func:`repre_mm.datasets.read_image`."""
        return decode_image(self.name(entry), self.read(entry), **decoding)

    def name(self, entry: Entry) -> str:
        """Return the complete path of an image, or what stands for it in messages."""
        return os.path.join(self.place, entry['img_path'])

    def scan(self) -> Iterator[Entry]:
        """List the images one by one; a progress bar appears where that takes longer than two seconds.

        Raises:
            DatasetError: There are none, or the place cannot be listed.
        """
        self.passed_over.clear()
        entry = None
        for entry in tqdm(self.entries(), desc=f'listing {self.place}', unit=' images', delay=2, disable=None):
            yield entry
        if entry is None:
            raise self.empty()

    def images(self, limit: int | None = None, seconds: float = float('inf')) -> list[Entry]:
        """List all images, or the first ``limit``, or those listed in about ``seconds``; see :meth:`scan`."""
        end, found = time.monotonic() + seconds, []
        for entry in islice(self.scan(), limit):
            found.append(entry)
            if time.monotonic() > end:
                break
        return found

    def empty(self) -> DatasetError:
        """Make the error of a place without images, for after it has been listed."""
        kinds = [f'{count:,} {kind} file{"s" * (count > 1)}' for kind, count in self.passed_over.most_common(5)]
        packed = next((kind for kind in ('.tar', '.parquet') if kind in self.passed_over), None)
        fix = f"For what is in its {packed} files say '{self.place}/*{packed}'" if packed else ''
        return DatasetError(
            f'no images under {self.place}: looked for {" ".join(self.extensions)}, found '
            f'{", ".join(kinds) or "no files at all"}. {fix or "Name the folder that holds them"}'
        )

    def is_image(self, name: str) -> bool:
        """Return whether a file is an image by its extension; count it as passed over if not."""
        if name.lower().endswith(self.extensions):
            return True
        self.passed_over[os.path.splitext(name)[1].lower() or '(no extension)'] += 1
        return False
