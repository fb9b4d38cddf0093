"""Log numbers to a file, and survive a full disk."""

from __future__ import annotations

from typing import Any

from mmengine.logging import MMLogger
from mmengine.visualization import LocalVisBackend as UpstreamLocalVisBackend

from repre_mm.registry import VISBACKENDS


@VISBACKENDS.register_module()
class LocalVisBackend(UpstreamLocalVisBackend):
    """mmengine's backend (``vis_data/scalars.json``), but a failed write does not end the training.

    The first of several failures in a row is logged. Checkpoints hold all numbers too.
    """

    _failing = False

    def _dump(self, *args: Any, **kwargs: Any) -> None:
        try:
            super()._dump(*args, **kwargs)
            self._failing = False
        except OSError as error:
            if not self._failing:
                MMLogger.get_current_instance().warning(f'could not log numbers: {error}. Training goes on')
            self._failing = True
