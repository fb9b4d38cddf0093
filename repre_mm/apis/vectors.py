"""Files of image vectors: written by `repre embed`, searched by `repre search`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
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
        """Write a ``.parquet`` with columns ``path`` and ``vector``; or ``.npy``, and beside it all else as ``.json``.

        Raises:
            UserError: Another ending, no such folder, or Parquet's library is missing.
        """
        if out.suffix not in ('.npy', '.parquet') or not out.parent.is_dir():
            raise UserError(f'{out}: vectors are written as NAME.npy or NAME.parquet into a folder that exists')
        notes = {'encoder': self.encoder, 'options': self.options}
        if out.suffix == '.parquet':
            arrow, parquet = _arrow()
            rows = arrow.FixedSizeListArray.from_arrays(self.values.numpy().ravel(), self.values.shape[1])
            table = arrow.table({'path': self.paths, 'vector': rows})
            table = table.replace_schema_metadata({'repre_mm': json.dumps(notes)})
            write_atomically(out, lambda draft: parquet.write_table(table, draft))
            return
        # The paths first: vectors without paths would be taken for a complete file.
        write_json({**notes, 'paths': self.paths}, out.with_suffix('.json'))

        def write(draft: Path) -> None:
            with draft.open('wb') as file:  # given a path, NumPy would add an ending
                np.save(file, self.values.numpy())

        write_atomically(out, write)

    @classmethod
    def load(cls, path: Path) -> Vectors:
        """Read what :meth:`save` wrote.

        Raises:
            UserError: It is something else, one of the two files is missing, or Parquet's library is.
        """
        parquet = _arrow()[1] if path.suffix == '.parquet' else None
        try:
            if parquet:
                table = parquet.read_table(path)
                notes = json.loads(table.schema.metadata[b'repre_mm']) | {'paths': table['path'].to_pylist()}
                values = np.stack(table['vector'].to_numpy())
            else:
                values = np.load(path, allow_pickle=False)
                notes = json.loads(path.with_suffix('.json').read_text())
            vectors = cls(torch.from_numpy(values), notes['paths'], notes['encoder'], notes['options'])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f'{path}{" and its .json were" if parquet is None else " was"} not written by `repre embed`: '
                f'{plain_message(error)}'
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


def _arrow() -> tuple[ModuleType, ModuleType]:
    try:
        return import_module('pyarrow'), import_module('pyarrow.parquet')
    except ModuleNotFoundError as error:
        raise UserError("Parquet needs pyarrow: pip install 'repre_mm[data]', or write NAME.npy") from error
