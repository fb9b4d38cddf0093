"""Report of how a checkpoint filled an encoder, tensor by tensor."""

from __future__ import annotations

from dataclasses import dataclass

Shapes = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class LoadReport:
    """What happened to each key. Constants that follow from the architecture are not listed unless copied.

    Attributes:
        loaded: Keys copied, resized or not.
        missing: Keys of the encoder that the file lacks.
        unexpected: Keys of the file's encoder that the encoder lacks.
        mismatched: Key -> (shape in the file, shape in the encoder), not copied.
        resized: Likewise, for positions that were interpolated to the encoder's grid or window.
        filled: Share of the encoder's parameters, by number of elements, that were filled; 0 to 1.
        source: What the file was taken for.
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
        lines = [f'encoder parameters filled: {self.filled:.2%}']
        lines += [f'  {"from":<16}  {self.source}'] if self.source else []
        lines += [f'  {"loaded":<11}{len(self.loaded):>5}']
        for kind in ('resized', 'missing', 'mismatched', 'unexpected', 'heads'):
            entries = getattr(self, kind)
            if isinstance(entries, dict):
                entries = [f'{key} {list(theirs)} -> {list(ours)}' for key, (theirs, ours) in entries.items()]
            if entries:
                more = f', and {len(entries) - max_keys} more' if len(entries) > max_keys else ''
                lines.append(f'  {kind:<11}{len(entries):>5}  {", ".join(entries[:max_keys])}{more}')
        return '\n'.join(lines)
