"""Keep what an evaluation has done, so that it goes on after a stop."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process

from repre_mm.evaluation.loaders import EvaluationError
from repre_mm.utils.atomic import write_atomically


@dataclass(frozen=True)
class EvaluationState:
    """A folder (None: nothing is kept) of what was done so far, and what it was made with: other files are refused.

    The main process writes, all read.
    """

    folder: Path | None
    made_with: dict[str, Any]

    def load(self, name: str) -> dict[str, Any] | None:
        """Read what was saved under a name, if anything was; of another evaluation it is an EvaluationError."""
        path = self.folder and Path(self.folder, f'{name}.pth')
        if path is None or not path.is_file():
            return None
        saved = torch.load(path, map_location='cpu', weights_only=True)
        others = sorted(key for key, value in self.made_with.items() if saved['made_with'].get(key) != value)
        if others:
            raise EvaluationError(
                f'{self.folder} is of an interrupted evaluation with other settings ({", ".join(others)}): '
                'remove it, or name another --out'
            )
        return saved

    def save(self, name: str, **values: Any) -> None:
        """Save tensors and plain values under a name."""
        if self.folder and is_main_process():
            path = Path(self.folder, f'{name}.pth')
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda draft: torch.save({**values, 'made_with': self.made_with}, draft))

    def remove(self) -> None:
        """Remove the folder: the evaluation is complete."""
        if self.folder and is_main_process():
            shutil.rmtree(self.folder, ignore_errors=True)
