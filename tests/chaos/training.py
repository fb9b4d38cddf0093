"""A training with faults: plan them, start it, damage what it left, resume it, compare its end."""

import hashlib
import json
import random
import re
import socket
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fixtures.comparison import training_differences

from chaos.setup import ITERATIONS, write_config
from chaos.zygote import Zygote
from repre_mm.checkpoint import CheckpointError, read_checkpoint

#: How often each fault that ends a process is drawn, in comparison with the others.
DECK = ['kill'] * 5 + ['kill_saving'] * 6 + ['terminate'] * 3
_RESUMED = re.compile(r'resuming from (\S+\.pth)|nothing to resume in ')
_TIMEOUT = 400  # seconds until a start counts as hung


@dataclass
class Fault:
    """What happened to which training, and how it went on: a row of the table."""

    training: str
    kind: str
    iteration: int
    detail: str
    exit: int | None = None  # None: the training went on
    newest: int = 0  # iterations behind the newest sound checkpoint after it
    resumed_from: int | None = None
    identical: bool = False

    @property
    def resumed(self) -> bool:
        """Whether the training went on from where it should."""
        return self.exit is None or self.resumed_from == self.newest


@dataclass
class Training:
    """One method on a number of processes: an undisturbed run, then runs with faults until there were enough."""

    method: str
    ranks: int
    quota: int
    folder: Path
    rng: random.Random
    progress: Callable[[int], None]
    faults: list[Fault] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = f'{self.method}, {self.ranks} process{"es" if self.ranks > 1 else ""}'
        self._deck: list[str] = ['freeze'] if self.ranks > 1 else []
        self._spoilt: set[str] = set()

    def run(self) -> None:
        """All of it; ``faults`` and ``errors`` tell."""
        self.folder.mkdir(parents=True)
        self.config = write_config(self.folder / 'config.py', self.method, self.ranks, self.folder.parent / 'data')
        self._zygote = Zygote(self.folder, segments=self.method == 'setr')
        try:
            status, _, output = self._start(self.folder / 'undisturbed', [])
            if status != 0:
                self.errors.append(f'the undisturbed training ended with {status}:\n{output[-3000:]}')
            while len(self.faults) < self.quota and not self.errors:
                self._run_with_faults(self.folder / f'run_{len(self.faults)}')
        finally:
            self._zygote.close()

    def _run_with_faults(self, work_dir: Path) -> None:
        first, stopped = len(self.faults), []  # those that the next start resumes from
        while True:
            found = self._checkpoints(work_dir)
            plan = self._plan(found) if len(self.faults) < self.quota else []
            status, happened, output = self._start(work_dir, plan)
            for fault in stopped:
                fault.resumed_from = _resumed_from(output, found)
            struck = [self._describe(each) for each in happened]
            left = self._checkpoints(work_dir)
            if status != 0 and struck:
                struck[-1].exit = status
                stopped = [struck[-1], *self._damage(work_dir, left, status)]
                struck += stopped[1:]
                for fault in stopped:
                    fault.newest = max(self._checkpoints(work_dir).values(), default=0)
            self.faults += struck
            self.progress(len(struck))
            if status == 0:
                break
            if not struck:
                self.errors.append(f'exit status {status} though nothing happened of {plan}:\n{output[-3000:]}')
                return
        differences = self._compare(work_dir)
        self.errors += [f'differs from the undisturbed training: {", ".join(differences[:5])}'] if differences else []
        for fault in self.faults[first:]:
            fault.identical = not differences

    def _plan(self, found: dict[str, int]) -> list[dict]:
        """A fault that ends the process some iterations after the checkpoint that it starts from; maybe a full disk."""
        at = max(found.values(), default=0)
        if at > ITERATIONS - 6:
            return []
        self._deck = self._deck or self.rng.sample(DECK, len(DECK))
        rng, everyone = self.rng, list(range(self.ranks))
        kind = self._deck.pop()
        fault: dict = {'kind': kind, 'iteration': at + rng.randint(2, 5), 'delay': round(rng.uniform(0, 0.15), 3)}
        if kind == 'kill':
            fault['ranks'] = rng.choice([everyone, *([each] for each in everyone)])
        elif kind == 'freeze':
            fault['ranks'] = [rng.choice(everyone)]
        else:
            fault['ranks'] = [0]
        if kind == 'kill_saving':
            fault |= {'event': rng.randint(1, 18), 'delay': rng.choice([0, 0, round(rng.uniform(0, 0.004), 4)])}
        plan = [fault]
        if rng.random() < 0.6 and found:
            room = min((self._work_dir / name).stat().st_size for name in found) // 2
            disk = {'kind': 'full_disk', 'iteration': at + 1, 'duration': rng.randint(2, 3), 'ranks': [0], 'room': room}
            fault['iteration'] = min(fault['iteration'] + 2, ITERATIONS)  # most often after there is room again
            plan.append(disk)
        return plan

    def _describe(self, happened: dict) -> Fault:
        kind, ranks = happened['kind'], happened['ranks']
        if kind == 'full_disk':
            detail = f'for {happened["duration"]} iterations'
        elif kind == 'kill_saving':
            detail = f'at {happened["at"]}' + (f' + {1000 * happened["delay"]:.1f} ms' if happened['delay'] else '')
        else:
            detail = f'after {1000 * happened["delay"]:.0f} ms'
        if self.ranks > 1 and kind in ('kill', 'freeze'):
            detail += ', all ranks and torchrun' if len(ranks) > 1 else f', rank {ranks[0]}'
        return Fault(self.name, kind, happened['iteration'], detail)

    def _damage(self, work_dir: Path, found: dict[str, int], status: int) -> list[Fault]:
        """Spoil the newest checkpoint, often; never the only one."""
        if len(found) < 2 or self.rng.random() < 0.4:
            return []
        name = max(found, key=found.get)
        path = work_dir / name
        data, at = bytearray(path.read_bytes()), self.rng.randrange(path.stat().st_size)
        kind = self.rng.choice(['truncate', 'flip'])
        if kind == 'truncate':
            detail = f'{name} to {at} of {len(data)} bytes'
            data = data[:at]
        else:
            with zipfile.ZipFile(path) as archive:  # the bytes between its members mean nothing
                tensor = self.rng.choice([each for each in archive.infolist() if '/data/' in each.filename])
            lengths = (
                int.from_bytes(data[tensor.header_offset + i :][:2], 'little') for i in (26, 28)
            )  # of its header
            at = tensor.header_offset + 30 + sum(lengths) + self.rng.randrange(tensor.file_size)
            detail = f'a bit of byte {at} of {name}'
            data[at] ^= 1 << self.rng.randrange(8)
        path.write_bytes(data)
        self._spoilt.add(hashlib.sha256(data).hexdigest())
        return [Fault(self.name, kind, found[name], detail, exit=status)]

    def _checkpoints(self, work_dir: Path) -> dict[str, int]:
        """Names of the checkpoints that nobody has spoilt, and the iterations behind them."""
        self._work_dir = work_dir
        found = {}
        for path in work_dir.glob('*.pth'):
            if hashlib.sha256(path.read_bytes()).hexdigest() not in self._spoilt:
                try:
                    found[path.name] = read_checkpoint(path, map_location='meta')['meta']['iter']
                except CheckpointError as error:
                    self.errors.append(f'a checkpoint that no fault has touched is not sound: {error}')
        return found

    def _start(self, work_dir: Path, plan: list[dict]) -> tuple[int, list[dict], str]:
        """tools/train.py with ``--resume``, to its end: the exit status, the faults that happened, the output."""
        journal = self.folder / f'journal_{time.monotonic_ns()}'
        journal.touch()
        out = journal.with_suffix('.log')
        env = {'CHAOS_FAULTS': json.dumps(plan), 'CHAOS_JOURNAL': str(journal)}
        arguments = [str(self.config), '--work-dir', str(work_dir), '--resume']
        try:
            status = self._zygote.run(arguments, self.ranks, _free_port(), env, out, _TIMEOUT)
        except TimeoutError:
            status = 1
            self.errors.append(f'hung for {_TIMEOUT} s with {plan}')
        output = out.read_text(errors='replace')
        happened = [json.loads(line) for line in journal.read_text().splitlines()]
        return status, [each for each in happened if each['rank'] == each['ranks'][0]], output

    def _compare(self, work_dir: Path) -> list[str]:
        name = f'iter_{ITERATIONS}.pth'
        try:
            ours, theirs = (read_checkpoint(folder / name) for folder in (work_dir, self.folder / 'undisturbed'))
        except CheckpointError as error:
            return [str(error)]
        return training_differences(ours, theirs)


def _resumed_from(output: str, found: dict[str, int]) -> int | None:
    match = _RESUMED.search(output)
    if match is None:
        return None
    return found.get(Path(match[1]).name, -1) if match[1] else 0


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]
