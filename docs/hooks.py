"""Hooks of the documentation site: pages and files that the repository keeps outside docs/."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
#: Pages of the site that the repository keeps where people look for them.
PAGES = {'changelog.md': 'CHANGELOG.md', 'contributing.md': 'CONTRIBUTING.md', 'security.md': 'SECURITY.md'}
_LINK = re.compile(r'\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)')


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from the top of the repository, and the files that pages link to: configs and code, as text."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    linked = {path for file in files.documentation_pages() for _, path in _outside(file.content_string, file.src_uri)}
    own = {ROOT / source for source in PAGES.values()}
    for path in sorted(path for path in linked - own if path.is_file() and not path.is_relative_to(ROOT / 'docs')):
        files.append(File.generated(config, _copy(path), content=path.read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead links to files outside docs/ to the repository, or to the copy in the site where it has no address yet."""
    here = Path(page.file.src_uri).parent
    for link, path in _outside(markdown, page.file.src_uri):
        text, anchor = link[1], link[3] or ''
        name = path.relative_to(ROOT).as_posix()
        inside = next((page for page, source in PAGES.items() if source == name), None)
        if inside is None and path.is_relative_to(ROOT / 'docs'):
            inside = path.relative_to(ROOT / 'docs').as_posix()
        if inside is None and config.repo_url:
            target = f'{config.repo_url.rstrip("/")}/tree/main/{name}'
        elif inside is None and path.is_dir():
            markdown = markdown.replace(link[0], f'`{name}`')
            continue
        else:
            target = Path(os.path.relpath(inside or _copy(path), here)).as_posix()
        markdown = markdown.replace(link[0], f'[{text}]({target}{anchor})')
    return markdown.replace('<this repository>', config.repo_url or '<this repository>')


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Docstrings name things by roles (``:class:``), which Markdown does not know."""
    return re.sub(r':(class|func|meth|mod|attr|data|exc|obj|doc):(?=<code>)', '', html)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Take the search's helper for file:// from this site: the theme would load it from the network."""
    return _own_helper(output, Path(page.file.dest_uri).parent)


def on_post_template(output: str, template_name: str, config: Any) -> str:
    """The same for the page of a wrong address."""
    return _own_helper(output, Path()) if template_name == '404.html' else output


def _own_helper(html: str, folder: Path) -> str:
    theirs = 'https://unpkg.com/iframe-worker/shim'
    if theirs not in html:
        raise PluginError(f'the theme does not load {theirs} any more: see docs/frame-worker.js')
    return html.replace(theirs, os.path.relpath('frame-worker.js', folder))


def _outside(markdown: str, page: str) -> Iterator[tuple[re.Match[str], Path]]:
    """Links of a page to what exists outside docs/, and from a page that is kept outside to what is inside."""
    moved = page in PAGES
    folder = ROOT if moved else (ROOT / 'docs' / page).parent
    for link in _LINK.finditer(markdown):
        path = Path(os.path.normpath(folder / link[2]))
        if path.exists() and (moved or not path.is_relative_to(ROOT / 'docs')):
            yield link, path


def _copy(path: Path) -> str:
    return f'files/{path.relative_to(ROOT).as_posix()}.txt'
