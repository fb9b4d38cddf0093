"""Report of what happened to each tensor when an encoder was filled from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

Shapes = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class LoadReport:
    """What happened to each key.

    Constants that follow from the architecture (the index into a table of relative positions) are in none of the
    lists unless they were copied.

    Attributes:
        loaded: Keys copied (the resized ones too).
        missing: Keys of the encoder that the checkpoint lacks.
        unexpected: Keys of the checkpoint's encoder that the encoder lacks.
        mismatched: Key -> (shape in the checkpoint, shape in the encoder), not copied.
        resized: Likewise, for positions that were interpolated to the encoder's grid or window.
        filled: Share of the encoder's parameters, by number of elements, that were filled; 0 to 1.
        source: What the checkpoint was taken for.
        heads: Keys of classifiers and projectors that were left out.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: dict[str, Shapes]
    resized: dict[str, Shapes]
    filled: float
    source: str = ''
    heads: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every tensor of the encoder was filled."""
        return not (self.missing or self.mismatched)

    def table(self, max_keys: int = 5) -> str:
        """Text for people: one line per kind, naming up to ``max_keys`` keys of each."""

        def shapes(changes: dict[str, Shapes]) -> list[str]:
            return [f'{key} {list(theirs)} -> {list(ours)}' for key, (theirs, ours) in changes.items()]

        def row(kind: str, entries: tuple | list) -> str:
            more = f', and {len(entries) - max_keys} more' if len(entries) > max_keys else ''
            return f'  {kind:<11}{len(entries):>5}  {", ".join(entries[:max_keys])}{more}'.rstrip()

        lines = [f'encoder parameters filled: {self.filled:.2%}']
        lines += [f'  {"from":<16}  {self.source}'] if self.source else []
        lines += [f'  {"loaded":<11}{len(self.loaded):>5}']
        lines += [
            row(kind, entries)
            for kind, entries in (
                ('resized', shapes(self.resized)),
                ('missing', self.missing),
                ('mismatched', shapes(self.mismatched)),
                ('unexpected', self.unexpected),
                ('heads', self.heads),
            )
            if entries
        ]
        return '\n'.join(lines)
