"""Files of image vectors: written by `repre embed`, searched by `repre search`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from repre_mm.utils.atomic import write_atomically, write_json
from repre_mm.utils.errors import UserError, plain_message


@dataclass(frozen=True)
class Vectors:
    """Vectors of images.

    Attributes:
        values: (N, C) float32.
        paths: N paths.
        encoder: The words that name the encoder, for new images.
        options: How it was loaded: ``size``, ``network``, ``prefix``.
    """

    values: Tensor
    paths: list[str]
    encoder: list[str]
    options: dict[str, Any]

    def save(self, out: Path) -> None:
        """Write the values as ``.npy``, and beside them all else as ``.json``.

        Raises:
            UserError: Another ending, or no such folder.
        """
        if out.suffix != '.npy' or not out.parent.is_dir():
            raise UserError(f'{out}: vectors are written as NAME.npy into a folder that exists')
        # The paths first: vectors without paths would be taken for a complete file.
        notes = {'encoder': self.encoder, 'options': self.options, 'paths': self.paths}
        write_json(notes, out.with_suffix('.json'))

        def write(draft: Path) -> None:
            with draft.open('wb') as file:  # given a path, NumPy would add an ending
                np.save(file, self.values.numpy())

        write_atomically(out, write)

    @classmethod
    def load(cls, path: Path) -> Vectors:
        """Read what :meth:`save` wrote.

        Raises:
            UserError: It is something else, or one of the two files is missing.
        """
        try:
            values = np.load(path, allow_pickle=False)
            notes = json.loads(path.with_suffix('.json').read_text())
            vectors = cls(torch.from_numpy(values), notes['paths'], notes['encoder'], notes['options'])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f'{path} and its .json were not written by `repre embed`: {plain_message(error)}'
            ) from error
        if values.ndim != 2 or len(values) != len(vectors.paths):
            raise UserError(f'{path} holds {list(values.shape)} values for {len(vectors.paths)} paths: embed again')
        return vectors

    def nearest(self, queries: Tensor, top: int) -> tuple[Tensor, Tensor]:
        """The nearest vectors by cosine.

        Args:
            queries: (Q, C).
            top: How many of each; at most N.

        Returns:
            Cosines and indices, (Q, top) each, nearest first.
        """
        cosines = F.normalize(queries, dim=1) @ F.normalize(self.values, dim=1).T  # (Q, N)
        return tuple(cosines.topk(min(top, len(self.paths))))

    def duplicates(self, threshold: float) -> list[tuple[float, str, str]]:
        """Pairs of images with a cosine of at least ``threshold``, the nearest first."""
        unit = F.normalize(self.values, dim=1)
        pairs = []
        for start in range(0, len(unit), 1024):
            cosines = unit[start : start + 1024] @ unit.T  # (1024, N)
            for row, column in (cosines >= threshold).nonzero().tolist():
                if start + row < column:
                    pairs.append((float(cosines[row, column]), self.paths[start + row], self.paths[column]))
        return sorted(pairs, reverse=True)
