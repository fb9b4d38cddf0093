"""Names of an encoder's tensors in each library; one file per family."""

from __future__ import annotations

from typing import Any

from repre_mm.checkpoint.layouts import beit, resnet, swin, vit
from repre_mm.checkpoint.layouts.names import Layout, State, under

LAYOUTS: tuple[Layout, ...] = (*vit.LAYOUTS, *beit.LAYOUTS, *swin.LAYOUTS, *resnet.LAYOUTS)

_DESCRIBE = {'ViT': vit.describe, 'BEiT': beit.describe, 'Swin': swin.describe, 'ResNet': resnet.describe}


def get_layout(family: str, library: str) -> Layout:
    """The layout of that family and library.

    Raises:
        KeyError: There is none.
    """
    for layout in LAYOUTS:
        if (layout.family, layout.library) == (family, library):
            return layout
    raise KeyError(f'no layout of {family} for {library}')


def convert(state: State, source: Layout, target: Layout) -> State:
    """Convert from one layout to another of the same family. Names that have no counterpart stay as they are."""
    return state if source == target else target.from_pivot(source.to_pivot(state))


def describe(state: State, layout: Layout) -> dict[str, Any]:
    """Derive the architecture from names and shapes; keywords are mmpretrain's where it has them."""
    return _DESCRIBE[layout.family](layout.to_pivot(state))


__all__ = ['LAYOUTS', 'Layout', 'State', 'convert', 'describe', 'get_layout', 'under']
