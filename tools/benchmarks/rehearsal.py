"""Rehearse an ImageNet run of eight processes on the CPUs: start, steps, epoch's end, checkpoint, stop and resume.

    python tools/benchmarks/rehearsal.py --images DIR [--count 1281167] [--processes 8] [--out docs/benchmarks/NAME.md]

The images are hard links to a few small JPEGs, with ImageNet's names and folders; DIR keeps them for the next time.
Each process runs tools/train.py on ImageNet's config of MoCo v3, with a small encoder, small crops and few steps an
epoch. Aims: the first step within 30 s of the start, at most 250 MB of listing per machine, no process waits more than
60 s for another. The last line of standard output is a JSON object; the exit status is 0 if the aims hold, or else 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from hard_links import make_images
from report import command_line, describe, machine, table, write

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/pretrain/mocov3/repre_mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k.py'
AIMS = {'first_step_s': 30, 'listing_mb': 250, 'longest_wait_s': 60}
START = 'REHEARSAL_START'
#: What a process does in these it does together with the others, or when they are done.
COLLECTIVES = ('all_reduce', 'all_gather', 'all_gather_into_tensor', 'broadcast', 'barrier', 'all_gather_object')
COLLECTIVES += ('broadcast_object_list', 'gather_object', 'gather', 'init_process_group', 'reduce_scatter_tensor')
#: ImageNet's config for two cores: what costs arithmetic is small, what grows with the images is not.
SMALL = """
_base_ = '{config}'
crop = dict(_base_.crop, scale=32)
views = [[crop, *_base_.view_1[1:]], [crop, *_base_.view_2[1:]]]
train_dataloader = dict(
    batch_size={batch}, num_batch_per_epoch={steps}, num_workers=1, dataset=dict(pipeline=[
        dict(type='repre_mm.FastMultiView', num_views=[1, 1], transforms=views), dict(type='PackInputs')]))
model = dict(algorithm=dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=96, num_layers=12, num_heads=3, feedforward_channels=96),
        img_size=32, patch_size=8),
    neck=dict(in_channels=96, hid_channels=64, out_channels=32),
    head=dict(predictor=dict(in_channels=32, hid_channels=64, out_channels=32))))
param_scheduler = []
train_cfg = dict(max_epochs=2)
default_hooks = dict(
    logger=dict(interval=1), stop_signal=dict(interval=1), checkpoint=dict(interval=1),
    probe=dict(type='repre_mm.OnlineProbeHook'),
    knn=dict(image_size=32, interval=1, workers=1{knn}))
"""
#: What ranks note that is no waiting for others.
OWN_WORK = ('pid', 'step', 'list')
PAGE = """# An ImageNet run of {processes} processes, rehearsed

{command}

{machine}

{count:,} training and {val:,} validation images, hard links, in the cache of the file system. Each process trains on
{batch} images a step, {steps} steps an epoch, with one loading process. The run starts, scores and saves at the end of
the first, is told to stop in the second, and is resumed to its end.

{aims}

{starts}

Seconds: from the command to the end of the last process's first step; of the longest call that ends when the other
processes have come, its own work included; of listing, by one process for all; of the longest time between two steps,
which is the end of an epoch; from the command to the end.

{numbers}

`listing_mb`: what the process that lists needs at its peak, and what all have mapped. Memory is the proportional set
size: pages that processes share count once.
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Rehearse an ImageNet run of several processes on the CPUs.')
    parser.add_argument('--images', type=Path, required=True, help='folder for the hard links, kept for the next time')
    parser.add_argument('--count', type=int, default=1_281_167, help='training images (default: %(default)s)')
    parser.add_argument('--val', type=int, default=50_000, help='validation images (default: %(default)s)')
    parser.add_argument('--processes', type=int, default=8, help='default: %(default)s')
    parser.add_argument('--steps', type=int, default=6, help='steps of an epoch (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=4, help='images per step and process (default: %(default)s)')
    parser.add_argument('--work-dir', type=Path, required=True, help='of the run; what an earlier one left is removed')
    parser.add_argument('--knn', default='', help='more settings of the online kNN, such as ", k=10"')
    parser.add_argument('--out', type=Path, help='where the Markdown goes; the JSON goes beside it')
    return parser.parse_args()


def run_rank(log_folder: str, *command: str) -> None:
    """Run tools/train.py in this process of torchrun, and note when it waits for the others, and its first step."""
    log = open(Path(log_folder) / f'{os.environ["RANK"]}.jsonl', 'a', buffering=1)  # noqa: SIM115

    def note(what: str, begin: float, **more: float) -> None:
        now = time.monotonic()
        event = {'what': what, 'at': now - float(os.environ[START]), 'took': now - begin, 'cpu': time.process_time()}
        log.write(json.dumps({**event, **more}) + '\n')

    def timed(module, name: str, what: str) -> None:
        original = getattr(module, name)

        def call(*args, **kwargs):
            begin = time.monotonic()
            try:
                return original(*args, **kwargs)
            finally:
                note(what, begin)

        setattr(module, name, call)

    import fcntl

    note('pid', time.monotonic(), pid=os.getpid())
    timed(fcntl, 'flock', 'the listing')
    sys.path.insert(0, str(ROOT))
    from repre_mm.cli.start import prepare_process

    prepare_process()
    import torch
    import torch.distributed as dist
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from repre_mm.datasets import index

    for name in COLLECTIVES:
        timed(dist, name, name)
        setattr(dist.distributed_c10d, name, getattr(dist, name))
    timed(torch.Tensor, 'backward', 'backward, with the sum of gradients')
    register_optimizer_step_post_hook(lambda *_: note('step', time.monotonic()))
    make = index._list

    def listing(source) -> bytes:
        Path('/proc/self/clear_refs').write_text('5')  # the peak starts anew
        begin, before = time.monotonic(), status('VmRSS')
        block = make(source)
        note('list', begin, mb=status('VmHWM') - before, images=len(index.ImageIndex(block)))
        return block

    index._list = listing
    sys.argv = list(command)
    runpy.run_path(command[0], run_name='__main__')


def status(field: str, process: int | str = 'self', file: str = 'status') -> float:
    """A number of /proc in MB."""
    return int(re.search(rf'^{field}:\s+(\d+)', Path(f'/proc/{process}/{file}').read_text(), re.M)[1]) * 1024 / 1e6


def sample(torchrun: int, seen: dict[str, float]) -> None:
    """Measure memory and files of the ranks and their loading processes, and keep the largest numbers."""
    children = defaultdict(list)
    for path in Path('/proc').glob('[0-9]*/stat'):
        with suppress(OSError):  # it has ended
            pid, _, rest = path.read_text().partition(' (')
            children[int(rest.rpartition(')')[2].split()[1])].append(int(pid))
    sums = defaultdict(float)
    for rank in children[torchrun]:
        for pid in (rank, *children[rank]):
            kind = 'rank' if pid == rank else 'worker'
            with suppress(OSError, TypeError):
                pss, files = status('Pss', pid, 'smaps_rollup'), len(os.listdir(f'/proc/{pid}/fd'))
                maps = Path(f'/proc/{pid}/smaps').read_text()
                mapped = sum(map(int, re.findall(r'\.index\n(?:\w+:.*\n)*?Pss: +(\d+)', maps))) * 1024 / 1e6
                found = {f'pss_{kind}_mb': pss, f'files_{kind}': files}
                seen.update({name: max(value, seen.get(name, 0)) for name, value in found.items()})
                sums['pss_machine_mb'] += pss
                sums['mapped_listing_mb'] += mapped
    seen.update({name: max(value, seen.get(name, 0)) for name, value in sums.items()})


def train(args: argparse.Namespace, how: str, seen: dict[str, float]) -> list[list[dict]]:
    """Start all processes; 'start' gets a signal in its second epoch, 'resume' goes on from there to the end.

    Returns:
        What each rank noted.
    """
    logs = args.work_dir / f'rehearsal-{how}'
    logs.mkdir(parents=True)
    config = args.work_dir / 'rehearsal.py'
    config.write_text(SMALL.format(config=ROOT / CONFIG, batch=args.batch, steps=args.steps, knn=args.knn))
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--local-addr=127.0.0.1']
    command += [f'--nproc_per_node={args.processes}', __file__, '--rank', logs, ROOT / 'tools/train.py', config]
    command += ['--launcher', 'pytorch', '--data', args.images, '--work-dir', args.work_dir]
    command += ['--resume'] * (how == 'resume')
    env = {**os.environ, START: str(time.monotonic()), 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    stopped = how == 'resume'
    with open(logs / 'output.txt', 'w') as output:
        process = subprocess.Popen(list(map(str, command)), env=env, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            time.sleep(2)
            ranks = read(logs)
            steps = len(times(ranks[:1], 'step'))
            if steps % 3 == 1:  # it takes time from the processes, and none of them is at its largest before a step
                sample(process.pid, seen)
            if not stopped and steps >= args.steps + 2:
                stopped = True
                for (pid,) in (times([rank], 'pid', 'pid') for rank in ranks):
                    os.kill(int(pid), signal.SIGUSR1)
    ranks, wanted = read(logs), args.steps + 2 if how == 'start' else 1
    if len(ranks) < args.processes or any(len(times([rank], 'step')) < wanted for rank in ranks):
        sys.exit(f'error: the {how} did not make {wanted} steps on each of {args.processes} processes: see {logs}')
    return ranks


def read(logs: Path) -> list[list[dict]]:
    """What each rank has noted so far."""
    return [
        [json.loads(line) for line in path.read_text().splitlines(True) if line.endswith('\n')]
        for path in sorted(logs.glob('*.jsonl'))
    ]


def times(ranks: list[list[dict]], what: str, field: str = 'at') -> list[float]:
    """One number of all events of a kind."""
    return [event[field] for rank in ranks for event in rank if event['what'] == what]


def summarise(ranks: list[list[dict]]) -> dict[str, float | str]:
    """The times of one start."""
    steps = [times([rank], 'step') for rank in ranks]
    waits = [(event['took'], event['what']) for rank in ranks for event in rank if event['what'] not in OWN_WORK]
    return {
        'first_step_s': max(each[0] for each in steps),
        'listings': len(times(ranks, 'list')),
        'listing_s': sum(times(ranks, 'list', 'took')),
        'longest_wait_s': max(waits)[0],
        'longest_wait_for': max(waits)[1],
        'longest_between_steps_s': max(b - a for each in steps for a, b in pairwise(each)),
        'all_s': max(event['at'] for rank in ranks for event in rank),
    }


def main() -> None:
    if sys.argv[1:2] == ['--rank']:
        run_rank(*sys.argv[2:])
        return
    args = parse_args()
    shutil.rmtree(args.work_dir, ignore_errors=True)
    for split, count in (('train', args.count), ('val', args.val)):
        make_images(args.images, split, count)
    env, seen, starts = machine(), {}, {}
    peak = 0.0
    for how in ('start', 'resume'):
        ranks = train(args, how, seen)
        starts[how] = summarise(ranks)
        peak = max([peak, *times(ranks, 'list', 'mb')])
    files = sum(path.stat().st_size for path in (args.work_dir / 'listings').glob('*.index')) / 1e6
    result = {
        'processes': args.processes,
        'images': args.count + args.val,
        **{name: max(start[name] for start in starts.values()) for name in ('first_step_s', 'longest_wait_s')},
        # What the process that lists needs beside what all have mapped by then.
        'listing_mb': peak + seen['mapped_listing_mb'],
        'listing_peak_mb': peak,
        'listing_files_mb': files,
        **seen,
    }
    result['holds'] = all(result[name] <= limit for name, limit in AIMS.items())
    columns = ['', 'start', 'resume']
    rows = [[name, *(show(start[name]) for start in starts.values())] for name in starts['start']]
    aims = [[name, show(result[name]), str(limit)] for name, limit in AIMS.items()]
    numbers = [[name, show(value)] for name, value in result.items() if name not in AIMS]
    text = PAGE.format(
        command=command_line(),
        machine=describe(env),
        aims='\n'.join(table(['aim', 'measured', 'at most'], aims)),
        starts='\n'.join(table(columns, rows)),
        numbers='\n'.join(table(['', 'largest'], numbers)),
        **vars(args),
    )
    print(text)
    write(args.out, text, {**result, 'starts': starts, 'machine': env})
    print(json.dumps(result))
    sys.exit(not result['holds'])


def show(value: object) -> str:
    """A number with three digits or more."""
    if isinstance(value, float):
        return f'{value:.3g}' if value < 100 else f'{value:,.0f}'
    return f'{value:,}' if type(value) is int else str(value)


if __name__ == '__main__':
    main()
