"""Self-contained HTML report on trainings: scores, curves, pictures, tables."""

from __future__ import annotations

import base64
import io
import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markdown_it import MarkdownIt
from PIL import Image

from repre_mm.visualization.curves import QUANTITIES, curves_figure, quantities_of, run_style, to_svg
from repre_mm.visualization.runs import Run

_MAX_WIDTH = 1800  # pixels of an embedded picture
_MAX_PICTURES = 8  # of one kind and run

#: What ``tools/visualize.py`` draws, and the title of its section.
PICTURES = {
    'reconstruction': 'Reconstructions',
    'attention': 'Where the encoder looks',
    'components': 'Principal components of patch tokens',
    'embedding': 'Classes in the plane',
    'retrieval': 'Nearest images',
}
# What a JSON file holds beside scores.
_NOT_SCORES = re.compile(r'(^|\.)(versions|settings|seed|image_size)(\.|$)')

# Links and images of a table's file would point out of the page.
_MARKDOWN = MarkdownIt('commonmark', {'html': False}).enable('table').disable(['link', 'image', 'autolink'])


def report_html(runs: Sequence[Run], title: str = 'Pre-training report') -> str:
    """Build a page in HTML that loads nothing from elsewhere; names that come from the data are escaped."""
    # The folder of an ablation holds tables and no training: do not list what a training would have.
    everything, runs = runs, [run for run in runs if run.curves or run.config or run.pictures or not run.tables] or runs
    described = [_describe(run, index) for index, run in enumerate(runs)]
    environment = Environment(loader=PackageLoader(__package__), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters['number'] = _number
    return environment.get_template('report.html').render(
        title=title,
        runs=described,
        scores=list(dict.fromkeys(key for run in described for key in run['scores'])),
        charts=[
            (QUANTITIES.get(key, key), to_svg(curves_figure(runs, [key], legend=False))) for key in quantities_of(runs)
        ],
        pictures=_picture_sections(described),
        tables=[
            (f'{run.name}: {file.name}', _MARKDOWN.render(file.read_text()))
            for run in everything
            for file in run.tables
        ],
    )


def picture_kind(file: Path) -> str | None:
    """Find the key of :data:`PICTURES` that a picture of a run belongs to."""
    if file.parent.name == 'reconstructions':
        return 'reconstruction'
    return next((kind for kind in PICTURES if file.stem.startswith(kind)), None)


def _describe(run: Run, index: int) -> dict[str, Any]:
    """Prepare a run for the template."""
    last = {unit: [s.steps[-1] for s in run.curves.values() if s.unit == unit] for unit in ('iteration', 'epoch')}
    scores = {('last logged', key): s.values[-1] for key, s in run.curves.items() if key.startswith('val/')}
    for name, numbers in run.scores.items():
        scores |= {(name, key): value for key, value in numbers.items() if not _NOT_SCORES.search(key)}
    files = shlex.join(str(path or name) for path, name in ((run.config, 'CONFIG'), (run.checkpoint, 'CHECKPOINT')))
    return {
        **vars(run),
        'style': run_style(index),
        'iterations': max(last['iteration'], default=None),
        'epochs': max(last['epoch'], default=None),
        'scores': scores,
        'scores_file': shlex.quote(str(run.path / 'knn.json')),
        'arguments': f'{files} --data DIR',
    }


def _picture_sections(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    sections = []
    for kind, title in [*PICTURES.items(), (None, 'Other pictures')]:
        rows = []
        for run in runs:
            files = _distinct([file for file in run['pictures'] if picture_kind(file) == kind])
            shown = [_embed(file, f'{run["name"]}: {file.relative_to(run["path"])}') for file in files[:_MAX_PICTURES]]
            rows.append((run, shown, len(files) - len(shown)))
        if kind or any(shown for _, shown, _ in rows):
            sections.append({'kind': kind, 'title': title, 'runs': rows})
    return sections


def _distinct(files: list[Path]) -> list[Path]:
    """Drop copies, and of the reconstructions drawn during a training all but the first and the last."""
    history = [file for file in files if file.parent.name == 'reconstructions']
    kept = [*history[:1], *history[1:][-1:], *(file for file in files if file not in history)]
    return list({file.read_bytes(): file for file in reversed(kept)}.values())[::-1]


def _embed(file: Path, caption: str) -> dict[str, Any]:
    """Encode a picture as a data URI, scaled down where it is large."""
    buffer = io.BytesIO()
    with Image.open(file) as image:
        image.thumbnail((_MAX_WIDTH, image.height))
        image.save(buffer, format='WEBP', quality=90)
    source = f'data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}'
    return {'source': source, 'width': image.width, 'height': image.height, 'caption': caption}


def _number(value: float | None) -> str:
    if not isinstance(value, (int, float)):  # None, or undefined: the run has no such score
        return '-'
    if not math.isfinite(value) or value == int(value):
        return f'{value:,.0f}'
    return f'{value:.2f}' if abs(value) >= 1 else f'{value:.4g}'
