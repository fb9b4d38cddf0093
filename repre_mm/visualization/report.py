"""One self-contained page about one training or several: curves, scores, pictures, tables."""

from __future__ import annotations

import base64
import io
import math
import re
import shlex
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from repre_mm.visualization.curves import QUANTITIES, curve_figure, quantities_of, run_style, to_svg
from repre_mm.visualization.runs import Run

_MAX_WIDTH = 1800  # pixels of an embedded picture
_MAX_PNG = 300_000  # bytes; photographs beyond that are embedded as WebP

_MAX_PICTURES = 8  # of one kind and run

#: Sections of pictures: how their file names begin, their title, the command that draws them.
PICTURES = {
    'reconstruction': ('Reconstructions', 'tools/visualize.py reconstruction'),
    'attention': ('Where the encoder looks', 'tools/visualize.py attention'),
    'components': ('Patch tokens by their principal components', 'tools/visualize.py components'),
    'embedding': ('Classes in the plane', 'tools/visualize.py embedding'),
    'retrieval': ('Nearest images', 'tools/visualize.py retrieval'),
}
# What a JSON file says beside scores.
_NOT_SCORES = re.compile(r'(^|\.)(versions|settings|seed|image_size)(\.|$)')

_CSS = """
:root { color-scheme: light dark; --paper: #fff; --ink: #20242a; --faint: #667080; --line: #d8dde4; --box: #f6f8fa }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171c; --ink: #e4e7eb; --faint: #9aa4b2; --line: #343b46; --box: #1c2128 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 78rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; margin: .5rem 0 } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem }
h3 { font-size: 1rem; margin: 1rem 0 .3rem } p { margin: .4rem 0 }
.note, figcaption { color: var(--faint); font-size: .9rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
  overflow-wrap: normal }
td.number, th.number { text-align: right }
code { background: var(--box); padding: .1rem .3rem; border-radius: 4px; font-size: .85rem }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; position: sticky; top: 0; padding: .4rem 0;
  background: var(--paper); z-index: 1 }
.key svg, td svg { width: 2.2rem; height: .7rem; margin-right: .4rem; vertical-align: middle }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(21rem, 100%), 1fr)); gap: 1rem }
.charts svg { width: 100%; height: auto; display: block }
figure { margin: .8rem 0 } figure.chart { margin: 0 }
.picture { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; background: #fff }
.picture img { display: block; max-width: 100%; height: auto; margin: 0 auto }
@media (max-width: 40rem) {
  .picture img { max-width: none; width: max(100%, min(var(--width) / 1.8, 42rem)) }
  table { font-size: .85rem } th, td { padding-right: .5rem }
  td:not(.number) { min-width: 8rem; overflow-wrap: anywhere } }
"""


def report_html(runs: Sequence[Run], title: str = 'Pre-training report') -> str:
    """Build the page. It loads nothing from anywhere: pictures are data URIs, charts are inline SVG, no scripts.

    Args:
        runs: See :func:`repre_mm.visualization.runs.read_runs`.
        title: Of the page.

    Returns:
        HTML. Every name that comes from the data is escaped.
    """
    tables = _tables_section(runs)
    # An ablation's folder holds a table and is no training: nothing else is missed there.
    runs = [run for run in runs if not run.tables or run.curves or run.config or run.checkpoint or run.pictures] or runs
    body = [f'<h1>{escape(title)}</h1>', _runs_section(runs), _scores_section(runs), _curves_section(runs)]
    for kind, (heading, command) in PICTURES.items():
        chosen = [_distinct([file for file in run.pictures if picture_kind(file) == kind]) for run in runs]
        body.append(_pictures_section(heading, command, runs, chosen))
    others = [[file for file in run.pictures if picture_kind(file) is None] for run in runs]
    if any(others):
        body.append(_pictures_section('Other pictures', '', runs, others))
    body.append(tables)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n<style>{_CSS}</style>\n</head>\n<body>\n'
        + '\n'.join(part for part in body if part)
        + '\n</body>\n</html>\n'
    )


def _runs_section(runs: Sequence[Run]) -> str:
    rows = []
    for index, run in enumerate(runs):
        curves = run.curves.values()
        ends = [max((s.steps[-1] for s in curves if s.unit == unit), default=None) for unit in ('iteration', 'epoch')]
        files = [path.name if path else '-' for path in (run.config, run.checkpoint)]
        rows.append([f'{_swatch(index)}{escape(run.name)}', *map(_number, ends), *map(escape, files)])
    note = '<p class="note">Iterations and epochs are the last ones that were logged.</p>'
    head = ['run', 'iterations', 'epoch', 'config', 'last checkpoint']
    return '<h2>Runs</h2>' + _table(head, rows, numbers={1, 2}) + note


def _scores_section(runs: Sequence[Run]) -> str:
    columns = []
    for run in runs:
        scores = {
            (name, key): value
            for name, numbers in run.scores.items()
            for key, value in numbers.items()
            if not _NOT_SCORES.search(key)
        }
        logged = {('last logged', key): s.values[-1] for key, s in run.curves.items() if key.startswith('val/')}
        columns.append({**logged, **scores})
    keys = list(dict.fromkeys(key for column in columns for key in column))
    missing = _missing(runs, 'tools/knn.py', 'scores', out='knn.json')
    if not keys:
        return '<h2>Scores</h2>' + missing
    rows = []
    for source, key in keys:
        values = [_number(column.get((source, key))) for column in columns]
        rows.append([f'{escape(key)} <small class="note">{escape(source)}</small>', *values])
    head = ['score', *(escape(run.name) for run in runs)]
    return '<h2>Scores</h2>' + _table(head, rows, numbers=set(range(1, len(head)))) + ('' if all(columns) else missing)


def _curves_section(runs: Sequence[Run]) -> str:
    quantities = quantities_of(runs)
    if not quantities:
        return '<h2>Curves</h2>' + _missing_line('curves', 'tools/train.py CONFIG --data DIR --work-dir WORK_DIR')
    key = ''.join(f'<span>{_swatch(index)}{escape(run.name)}</span>' for index, run in enumerate(runs))
    charts = []
    for quantity in quantities:
        label = escape(
            f'{QUANTITIES.get(quantity, quantity)}, {", ".join(r.name for r in runs if quantity in r.curves)}'
        )
        svg = to_svg(curve_figure(runs, quantity)).replace('<svg', f'<svg role="img" aria-label="{label}"', 1)
        charts.append(f'<figure class="chart">{svg}</figure>')
    return f'<h2>Curves</h2><div class="key">{key}</div><div class="charts">{"".join(charts)}</div>'


def _pictures_section(heading: str, command: str, runs: Sequence[Run], chosen: Sequence[Sequence[Path]]) -> str:
    parts = [f'<h2>{escape(heading)}</h2>']
    for run, files in zip(runs, chosen, strict=True):
        for file in files[:_MAX_PICTURES]:
            caption = f'{run.name}: {file.relative_to(run.path)}'
            parts.append(_picture(file, caption))
        if len(files) > _MAX_PICTURES:
            more = f'{len(files) - _MAX_PICTURES} more under {run.path}'
            parts.append(f'<p class="note">{escape(more)}</p>')
        if not files and run.curves and 'recon_l1' not in run.curves and command == PICTURES['reconstruction'][1]:
            parts.append(f'<p class="note">{escape(run.name)} has no branch that reconstructs.</p>')
        elif not files and command:
            parts.append(_missing([run], command, 'such picture'))
    return ''.join(parts)


def _tables_section(runs: Sequence[Run]) -> str:
    tables = [(run, file) for run in runs for file in run.tables]
    if not tables:
        return '<h2>Ablations</h2>' + _missing_line('tables', 'tools/ablation.py --work-dir WORK_DIR')
    parts = ['<h2>Tables</h2>']
    for run, file in tables:
        parts.append(f'<h3>{escape(f"{run.name}: {file.name}")}</h3>{markdown_html(file.read_text())}')
    return ''.join(parts)


def markdown_html(text: str) -> str:
    """Tables, headings, paragraphs, bold and code of Markdown; anything else, HTML too, shows as it is written."""
    parts: list[str] = []
    rows: list[list[str]] = []

    def end_table() -> None:
        if rows:
            numbers = {i for i in range(len(rows[0])) if all(_is_number(row[i]) for row in rows[1:] if i < len(row))}
            parts.append(_table(rows[0], rows[1:], numbers))
            rows.clear()

    for line in text.splitlines():
        line = line.strip()
        if line.startswith('|'):
            if not re.fullmatch(r'[|:\s-]+', line):
                rows.append([_inline(cell.strip()) for cell in line.strip('|').split('|')])
            continue
        end_table()
        if line.startswith('#'):
            parts.append(f'<h3>{_inline(line.lstrip("# "))}</h3>')
        elif line and not line.startswith('<!--'):
            parts.append(f'<p>{_inline(line)}</p>')
    end_table()
    return ''.join(parts)


def _inline(text: str) -> str:
    text = re.sub(r'\*\*(.+?)\*\*', r'<b>\1</b>', escape(text))
    return re.sub(r'`(.+?)`', r'<code>\1</code>', text)


def _is_number(cell: str) -> bool:
    return bool(re.fullmatch(r'(<b>)?[-+±.\d\s%()]*(</b>)?', cell))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: set[int]) -> str:
    """A table of cells that are HTML already."""

    def row(cells: Sequence[str], tag: str) -> str:
        return ''.join(
            f'<{tag}{" class=number" if i in numbers else ""}>{cell}</{tag}>' for i, cell in enumerate(cells)
        )

    body = ''.join(f'<tr>{row(cells, "td")}</tr>' for cells in rows)
    return f'<div class="wide"><table><thead><tr>{row(head, "th")}</tr></thead><tbody>{body}</tbody></table></div>'


def _picture(file: Path, caption: str) -> str:
    data, kind = file.read_bytes(), 'png'
    with Image.open(io.BytesIO(data)) as image:
        width = min(image.width, _MAX_WIDTH)
        height = round(image.height * width / image.width)
        if len(data) > _MAX_PNG:
            buffer = io.BytesIO()
            image.convert('RGB').resize((width, height)).save(buffer, format='WEBP', quality=90)
            data, kind = buffer.getvalue(), 'webp'
    source = f'data:image/{kind};base64,{base64.b64encode(data).decode()}'
    text = escape(caption)
    return (
        f'<figure><div class="picture" style="--width: {width}px"><img src="{source}" width="{width}" '
        f'height="{height}" alt="{text}"></div><figcaption>{text}</figcaption></figure>'
    )


def picture_kind(file: Path) -> str | None:
    """The key of :data:`PICTURES` that a picture of a run belongs to, or None."""
    if file.parent.name == 'reconstructions':
        return 'reconstruction'
    return next((kind for kind in PICTURES if file.stem.startswith(kind)), None)


def _distinct(files: list[Path]) -> list[Path]:
    """Each picture once; of those drawn along a training the first and the last, which tell most of the story."""
    history = [file for file in files if file.parent.name == 'reconstructions']
    kept = [*history[:1], *history[1:][-1:], *(file for file in files if file not in history)]
    return list({file.read_bytes(): file for file in reversed(kept)}.values())[::-1]


def _missing(runs: Sequence[Run], command: str, what: str, out: str | None = None) -> str:
    """Which command makes what is not there, with the files of the runs that lack it."""
    lines = []
    for run in runs:
        config = shlex.quote(str(run.config)) if run.config else 'CONFIG'
        checkpoint = shlex.quote(str(run.checkpoint)) if run.checkpoint else 'CHECKPOINT'
        target = f' --out {shlex.quote(str(run.path / out))}' if out else ''
        lines.append(_missing_line(f'{what} of {run.name}', f'{command} {config} {checkpoint} --data DIR{target}'))
    return ''.join(lines)


def _missing_line(what: str, command: str) -> str:
    return f'<p class="note">No {escape(what)}. The command for it: <code>.venv/bin/python {escape(command)}</code></p>'


def _swatch(index: int) -> str:
    style = run_style(index)
    dash = {'-': '', '--': '6 3', ':': '2 3', '-.': '6 3 2 3'}[style['linestyle']]
    return (
        f'<svg viewBox="0 0 36 10" aria-hidden="true"><line x1="0" y1="5" x2="36" y2="5" stroke="{style["color"]}" '
        f'stroke-width="3" stroke-dasharray="{dash}"/></svg>'
    )


def _number(value: float | None) -> str:
    if value is None:
        return '-'
    if not math.isfinite(value) or value == int(value):
        return f'{value:,.0f}'
    return f'{value:.2f}' if abs(value) >= 1 else f'{value:.4g}'
