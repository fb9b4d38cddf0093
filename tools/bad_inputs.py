"""Write docs/bad-inputs.md, the error message of every bad input that the tests make: ``python tools/bad_inputs.py``.

The inputs are made in folders that are removed again; the commands run in this process, none of them gets to train.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TINY = 'tests/fixtures/tiny_config.py'
HEAD = """# Bad inputs and their error messages

Written by `python tools/bad_inputs.py`; `tests/test_bad_inputs.py` makes all {count} again and checks that each message
names the culprit and the fix, and that no file was written, changed or lost. `DIR` is the folder of the input, `TINY`
is `tests/fixtures/tiny_config.py`; every training also has `--work-dir DIR/run`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description='Write the table of bad inputs and their messages.')
    parser.add_argument('--out', type=Path, default=ROOT / 'docs/bad-inputs.md', help='default: docs/bad-inputs.md')
    args = parser.parse_args()
    if not args.out.parent.is_dir():
        parser.error(f'--out {args.out}: there is no folder {args.out.parent}')
    args.out.write_text('\n'.join(_page()))
    print(args.out)


def _page() -> Iterator[str]:
    sys.path.insert(0, str(ROOT / 'tests'))
    from fixtures.bad_inputs import CASES, run_case
    from tqdm import tqdm

    yield HEAD.format(count=len(CASES))
    group = None
    for case in tqdm(CASES, desc='bad inputs', unit='input'):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            outcome = run_case(case, Path(folder))
        if outcome.crashed or not outcome.failed or outcome.changed:
            sys.exit(f'error: {case.group}, {case.what}: {outcome}')
        if case.group != group:
            group = case.group
            yield f'## {group}\n'
            yield '| what is bad | command | message |\n|---|---|---|'
        command, message = outcome.command, outcome.message.replace(TINY, 'TINY')
        if '--work-dir DIR/run' in command:
            command = command.replace(' --work-dir DIR/run', '', 1)
        yield f'| {case.what} | {_code(command.replace(TINY, "TINY"))} | {_code(message)} |'
        if case is CASES[-1] or CASES[CASES.index(case) + 1].group != group:
            yield ''


def _code(text: str, limit: int = 600) -> str:
    """Several lines of code in one cell of a table."""
    lines = (text if len(text) <= limit else text[:limit] + ' ...').splitlines()
    return '<br>'.join(f'`{line.strip().replace("|", chr(92) + "|").replace("`", chr(39))}`' for line in lines)


if __name__ == '__main__':
    main()
