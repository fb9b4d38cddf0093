"""Sizes of the views of a pipeline, read from its config."""

from __future__ import annotations

from collections.abc import Sequence

from repre_mm.datasets.listing import DatasetError


def view_sizes(pipeline: Sequence[dict]) -> list[int]:
    """Sides of the square views that a pre-training pipeline gives, in their order.

    Args:
        pipeline: The ``pipeline`` of a dataset's config, with one ``MultiView``, each of whose views has a
            ``RandomResizedCrop``.

    Returns:
        One side in pixels for each view: ``[224, 224]``, or ``[224, 224, 96, ...]`` with local crops.

    Raises:
        DatasetError: There is no ``MultiView`` in the pipeline, or no crop in a view.
    """
    sizes = []
    try:
        multi_view = next(step for step in pipeline if step['type'].endswith('MultiView'))
        counts = multi_view['num_views']
        counts = [counts] if isinstance(counts, int) else counts
        for count, steps in zip(counts, multi_view['transforms'], strict=True):
            sizes += [next(step['scale'] for step in steps if step['type'] == 'RandomResizedCrop')] * count
    except StopIteration as error:
        raise DatasetError(
            "the pipeline has no dict(type='MultiView', num_views=..., transforms=...) whose views all have a "
            "dict(type='RandomResizedCrop', scale=...)"
        ) from error
    return sizes
