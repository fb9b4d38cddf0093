"""Break small trainings in every way, resume them, compare how they end: ``PYTHONPATH=tests python -m chaos``.

MoCo v3, MoBY and DINO with RePre, and segmentation with SETR, are trained by tools/train.py on one process or several
(torchrun, gloo): once
undisturbed, then with faults, each time taken up by ``--resume``. In the end the weights, target networks, queues,
centres, the optimizer, the schedules and all logged losses must be those of the undisturbed run, to the last bit.

The last line is a JSON object: the ``faults`` that happened; those after which the training went on, from the newest
sound checkpoint (``resumed``); those whose training ended ``identical``; and the ``lost`` ones, for which one of these
does not hold. The exit status is 0 if none is lost.
"""

import argparse
import json
import platform
import random
import shlex
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mmengine
import torch
from tqdm import tqdm

from chaos.setup import METHODS, make_data
from chaos.training import Fault, Training
from repre_mm.version import __version__

WHAT = {
    'kill': 'SIGKILL at a random moment',
    'kill_saving': 'SIGKILL while a checkpoint is saved, at a random file operation',
    'terminate': 'SIGTERM (with several processes: to torchrun)',
    'freeze': 'SIGSTOP to one of several processes',
    'full_disk': 'full disk: no file may grow (RLIMIT_FSIZE)',
    'truncate': 'the newest checkpoint is cut off',
    'flip': 'a bit of the newest checkpoint flips',
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--faults', type=int, default=54, help='at least so many (default: %(default)s)')
    parser.add_argument('--methods', nargs='+', choices=METHODS, default=METHODS)
    parser.add_argument('--ranks', nargs='+', type=int, choices=[1, 2, 4], default=[1, 2], help='numbers of processes')
    parser.add_argument(
        '--seed', type=int, default=0, help='of the plan; when a signal lands is up to the machine, too'
    )
    parser.add_argument('--jobs', type=int, default=2, help='trainings at a time (default: %(default)s)')
    parser.add_argument('--folder', type=Path, help='where the trainings go, and stay (default: a temporary folder)')
    parser.add_argument('--table', type=Path, help='where the table of faults goes, in Markdown')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    begin = time.time()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        make_data(folder / 'data')
        kinds = [(method, ranks) for ranks in sorted(args.ranks, reverse=True) for method in args.methods]
        quota = -(-args.faults // len(kinds))
        with tqdm(total=quota * len(kinds), unit='fault', smoothing=0, file=sys.stdout) as bar:
            trainings = [
                Training(
                    method,
                    ranks,
                    quota,
                    folder / f'{method}_{ranks}',
                    random.Random(f'{args.seed} {method} {ranks}'),
                    bar.update,
                )
                for method, ranks in kinds
            ]
            with ThreadPoolExecutor(args.jobs) as pool:
                list(pool.map(Training.run, trainings))
    faults = [fault for training in trainings for fault in training.faults]
    for training in trainings:
        for error in training.errors:
            print(f'{training.name}: {error}')
    counts = {
        'faults': len(faults),
        'resumed': sum(fault.resumed for fault in faults),
        'identical': sum(fault.identical for fault in faults),
        'lost': sum(not (fault.resumed and fault.identical) for fault in faults),
    }
    if args.table:
        args.table.write_text(table(faults, counts, (time.time() - begin) / 60))
    print(json.dumps(counts))
    sys.exit(bool(counts['lost'] or any(training.errors for training in trainings)))


def table(faults: list[Fault], counts: dict[str, int], minutes: float) -> str:
    """The page docs/chaos.md."""
    places = {sys.argv.index(option) + i for option in ('--folder', '--table') if option in sys.argv for i in (0, 1)}
    command = 'PYTHONPATH=tests ' + shlex.join(
        ['python', '-m', 'chaos', *(w for i, w in enumerate(sys.argv) if i and i not in places)]
    )
    lines = [
        '# Injected faults and their outcome',
        '',
        'Tiny runs were interrupted by faults, resumed by `tools/train.py --resume`, and compared bit for bit',
        'with uninterrupted ones: weights, target networks, queues, centres, the state of the optimizer and of the',
        'schedules, all logged losses. The processes were forks of one that had imported all packages; groups were',
        "started by torchrun's agent and communicated over gloo.",
        '',
        f'`{command}` on {time.strftime("%F")}: Python {platform.python_version()}, torch {torch.__version__},',
        f'mmengine {mmengine.__version__}, repre_mm {__version__}, CPU; {minutes:.0f} minutes.',
        '',
        f'**{counts["faults"]} faults, {counts["resumed"]} resumed from the newest valid checkpoint, '
        f'{counts["identical"]} ended identical, {counts["lost"]} lost.**',
        '',
        '| fault | description | count | resumed | identical |',
        '|---|---|---|---|---|',
    ]
    for kind, count in Counter(fault.kind for fault in faults).most_common():
        some = [fault for fault in faults if fault.kind == kind]
        sums = sum(fault.resumed for fault in some), sum(fault.identical for fault in some)
        lines.append(f'| {kind} | {WHAT[kind]} | {count} | {sums[0]} | {sums[1]} |')
    lines += [
        '',
        'Exit status 75 asks for a restart; torchrun has its own exit status. "Did not stop": the run survived the',
        'fault. Iterations count from 1; a checkpoint is saved at every second one.',
        '',
        '| # | run | fault | iteration | detail | exit | newest valid | resumed from | end |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    for number, fault in enumerate(faults, start=1):
        went_on = ('did not stop', '', '') if fault.exit is None else (fault.exit, fault.newest, fault.resumed_from)
        lines.append(
            f'| {number} | {fault.training} | {fault.kind} | {fault.iteration} | {fault.detail} | {went_on[0]} | '
            f'{went_on[1]} | {went_on[2]} | {"identical" if fault.identical else "**differs**"} |'
        )
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    main()
