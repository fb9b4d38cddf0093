"""The documentation site that `make docs` builds: every page in a browser, and its search."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SITE = Path(__file__).parents[1] / 'site'
BROWSER = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
pytestmark = [
    pytest.mark.skipif(not SITE.is_dir(), reason='no site: run `make docs` first'),
    pytest.mark.skipif(BROWSER is None, reason='no chromium is installed'),
]

# Opens each page in a frame as narrow as a phone, one after another, and writes what scrolls sideways into the title.
FRAMES = """<title>running</title><body><script>
const pages = PAGES, wide = []
const next = () => {
  const page = pages.shift()
  if (!page) { document.title = JSON.stringify(wide); return }
  const frame = document.createElement('iframe')
  frame.style = 'width: 390px; height: 800px'
  frame.onload = () => {
    if (frame.contentDocument.documentElement.scrollWidth > 390) wide.push(page)
    frame.remove()
    next()
  }
  frame.src = page
  document.body.append(frame)
}
next()
</script>"""


def browse(url: str, tmp_path: Path) -> str:
    """The page as it stands after its scripts ran; nothing may be written to the console."""
    options = ['--headless', '--no-sandbox', '--disable-gpu', '--allow-file-access-from-files']
    options += ['--enable-logging=stderr', f'--user-data-dir={tmp_path}/profile', '--window-size=1280,900']
    result = subprocess.run(
        [BROWSER, *options, '--virtual-time-budget=60000', '--dump-dom', url],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'CONSOLE' not in result.stderr, result.stderr[-2000:]
    return result.stdout


def test_every_page_opens_without_errors_and_fits_a_phone(tmp_path):
    pages = sorted(SITE.rglob('*.html'))
    assert len(pages) > 20
    frames = tmp_path / 'frames.html'
    frames.write_text(FRAMES.replace('PAGES', json.dumps([page.as_uri() for page in pages])))
    title = re.search(r'<title>(.*?)</title>', browse(frames.as_uri(), tmp_path)).group(1)
    assert json.loads(html.unescape(title)) == []


def test_search_finds_a_page_without_a_server(tmp_path):
    page = browse(f'{(SITE / "index.html").as_uri()}?q=uncertainty', tmp_path)
    found = re.findall(r'<a href="([^"?#]*)[^>]*class="md-search-result__link"', page)
    assert any(link.endswith('how-it-works.html') for link in found), found


def test_pages_load_nothing_from_elsewhere():
    loaded = re.compile(r'<(?:script|img|link)[^>]+(?:src|href)="(https?:[^"]+)"')
    for page in SITE.rglob('*.html'):
        assert not loaded.findall(page.read_text()), page
