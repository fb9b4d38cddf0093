"""Layouts: the names (and order) that one library gives the tensors of one family of encoders.

mmpretrain's names are the pivot: a layout is a table of renames to them and, where a library also orders numbers
differently, two functions. Any two layouts of a family convert into one another through the pivot.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

State = dict[str, Tensor]


def _unchanged(state: State) -> State:
    return state


@dataclass(frozen=True)
class Layout:
    """One library's names for one family of encoders.

    Attributes:
        family: ``'ViT'``, ``'Swin'`` or ``'ResNet'``; layouts of one family convert into one another.
        library: Whose names they are.
        marks: Names that all encoders of this layout have, by which it is recognised.
        absent: Names that would make it another layout.
        needs: Own names without which the library cannot build the encoder.
        table: (pivot name, own name) of modules and tensors. ``{i}`` and ``{j}`` count blocks, or stages and their
            blocks; ``{next}`` is i + 1, ``{odd}`` 2i + 1, ``{even}`` 2i + 2, ``{last}`` the last stage.
        tensors_in: Reorders numbers after renaming to the pivot.
        tensors_out: Reorders them before renaming from the pivot.
    """

    family: str
    library: str
    marks: tuple[str, ...]
    absent: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    table: tuple[tuple[str, str], ...] = ()
    tensors_in: Callable[[State], State] = _unchanged
    tensors_out: Callable[[State], State] = _unchanged

    def __str__(self) -> str:
        return f'{self.family}, {self.library} names'

    def at(self, names: Iterable[str]) -> list[str]:
        """The prefixes (``''`` or ending with a dot) under which ``names`` hold an encoder of this layout."""
        names, mark = set(names), self.marks[0]
        prefixes = sorted(name[: -len(mark)] for name in names if name == mark or name.endswith('.' + mark))
        return [
            prefix
            for prefix in prefixes
            if all(prefix + other in names for other in self.marks)
            and not any(prefix + other in names for other in self.absent)
        ]

    def to_pivot(self, state: State) -> State:
        """Own names and order -> mmpretrain's. Names that the table lacks stay as they are."""
        renamed = rename(state, {own: pivot for pivot, own in self._expand(state)})
        return self.tensors_in(renamed)

    def from_pivot(self, state: State) -> State:
        """mmpretrain's names and order -> own. Names that the table lacks stay as they are."""
        state = self.tensors_out(state)
        return rename(state, dict(self._expand(state)))

    def strangers(self, state: State) -> list[str]:
        """Pivot names that this layout has no name for."""
        known = {pivot for pivot, _ in self._expand(state)}
        return [name for name in self.tensors_out(state) if known and _known_parent(name, known) is None]

    def _expand(self, state: State) -> list[tuple[str, str]]:
        # Indices beyond those present do no harm, so the largest number in any name is bound enough.
        bound = 1 + max((int(number) for name in state for number in re.findall(r'\d+', name)), default=0)
        # A pyramid has one first block, with a table of its own, per stage.
        stages = sum(bool(re.search(r'\.0\.attn\.(w_msa\.)?relative_position_bias_table$', name)) for name in state)
        pairs = []
        for pivot, own in self.table:
            for i in range(bound if '{' in pivot else 1):
                for j in range(bound if '{j}' in pivot else 1):
                    numbers = {'i': i, 'j': j, 'next': i + 1, 'odd': 2 * i + 1, 'even': 2 * i + 2, 'last': stages - 1}
                    pairs.append((pivot.format(**numbers), own.format(**numbers)))
        return pairs


def under(state: State, prefix: str) -> State:
    """Tensors whose names start with a prefix, under their names without it."""
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}


def rename(state: State, names: Mapping[str, str]) -> State:
    """Rename each tensor by the longest of its parents (itself included) that ``names`` lists."""
    renamed = {}
    for name, value in state.items():
        parent = _known_parent(name, names)
        renamed[name if parent is None else names[parent] + name[len(parent) :]] = value
    return renamed


def _known_parent(name: str, known: Iterable[str]) -> str | None:
    while name not in known:
        name = name.rpartition('.')[0]
        if not name:
            return None
    return name
