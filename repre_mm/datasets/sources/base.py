"""The interface of a place that images are read from."""

from __future__ import annotations

import os
import random
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from repre_mm.datasets.listing import IMAGE_EXTENSIONS, DatasetError, no_images, other_kinds

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

    def __init__(self, place: str, extensions: Sequence[str] = IMAGE_EXTENSIONS) -> None:
        self.place = place
        self.extensions = tuple(extension.lower() for extension in extensions)
        #: Names of the classes that numbers stand for, where the place has them.
        self.classes: list[str] | None = None
        #: Extension -> number of files passed over; complete once all entries are listed.
        self.passed_over: Counter[str] = Counter()

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """List the images, in an order that never changes.

        Raises:
            DatasetError: The place cannot be listed.
        """

    @abstractmethod
    def read(self, entry: Entry) -> bytes:
        """Read the file of one image.

        Raises:
            ImageReadError: This image cannot be read.
            DatasetError: Nothing can be read here, now.
        """

    def name(self, entry: Entry) -> str:
        """Return the complete path of an image, or what stands for it in messages."""
        return os.path.join(self.place, entry['img_path'])

    def list_all(self) -> list[Entry]:
        """List all images.

        Raises:
            DatasetError: There are none, or the place cannot be listed.
        """
        entries = list(self.entries())
        if not entries:
            raise self.empty()
        return entries

    def empty(self) -> DatasetError:
        """Make the error of a place without images, for after it has been listed."""
        return DatasetError(no_images(self.place, self.extensions, self.passed_over))

    def count(self, limit: int | None = None) -> int:
        """Count the images, up to a limit where one is given."""
        return sum(1 for _ in islice(self.entries(), limit))

    def draw(self, count: int, seconds: float) -> tuple[list[Entry], int]:
        """Draw images evenly from those that can be listed in about ``seconds``, the same ones each time.

        Returns:
            At most ``count`` of them, and how many were listed.
        """
        end, listed = time.monotonic() + seconds, []
        for entry in self.entries():
            listed.append(entry)
            if time.monotonic() > end:
                break
        return random.Random(0).sample(listed, min(count, len(listed))), len(listed)

    def select(self, names: Sequence[str]) -> list[int]:
        """Find the images among file names, by their extension; count the others as passed over."""
        chosen = [index for index, name in enumerate(names) if name.lower().endswith(self.extensions)]
        if len(chosen) < len(names):
            images = set(chosen)
            self.passed_over += other_kinds([name for index, name in enumerate(names) if index not in images])
        return chosen
