"""Trainings that start in a moment: forks of a process that has imported everything.

A cold start imports for seconds, and dozens of starts would take an hour. What is forked runs tools/train.py as it is;
for several processes torchrun's own agent, with its own parser, starts them.
"""

import importlib
import json
import os
import runpy
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Zygote:
    """Starts one training after another.

    Args:
        folder: Where its log goes.
        segments: Import mmseg too.
    """

    def __init__(self, folder: Path, segments: bool = False) -> None:
        env = os.environ | {
            'PYTHONPATH': os.pathsep.join([str(ROOT), str(ROOT / 'tests')]),
            'OMP_NUM_THREADS': '1',
            'CUDA_VISIBLE_DEVICES': '',
        }
        with (folder / 'zygote.log').open('w') as log:
            imports = ['mmseg.models'] if segments else []
            pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
            self._process = subprocess.Popen(
                [sys.executable, '-m', 'chaos.zygote', *imports],
                env=env,
                text=True,
                **pipes,
            )

    def run(self, arguments: list[str], ranks: int, port: int, env: dict[str, str], out: Path, timeout: float) -> int:
        """tools/train.py with arguments.

        Args:
            arguments: Of tools/train.py.
            ranks: Processes; more than one are started by torchrun.
            port: Where torchrun's processes meet.
            env: More variables.
            out: File for standard output and error.
            timeout: Seconds.

        Returns:
            The exit status; negative is a signal's number.

        Raises:
            TimeoutError: It took longer and was killed.
        """
        request = {'arguments': arguments, 'ranks': ranks, 'port': port, 'env': env, 'out': str(out)}
        self._process.stdin.write(json.dumps(request) + '\n')
        self._process.stdin.flush()
        pid = int(self._read(900))  # the first one waits for the imports
        try:
            return int(self._read(timeout))
        except TimeoutError:
            os.kill(pid, 9)
            self._read(60)
            raise

    def close(self) -> None:
        """End it."""
        self._process.stdin.close()
        self._process.wait()

    def _read(self, timeout: float) -> str:
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            raise TimeoutError(f'no answer for {timeout} s')
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError('the process that starts trainings has died: see zygote.log')
        return line


def train(*arguments: str) -> None:
    """tools/train.py, in this process."""
    sys.argv = [str(ROOT / 'tools/train.py'), *arguments]
    # Not as __main__, which ends the process: torchrun's agent waits for what a fork returns.
    runpy.run_path(sys.argv[0])['main']()


def torchrun(arguments: list[str], ranks: int, port: int) -> None:
    """What ``torchrun tools/train.py`` does, but that the processes are forks."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    options = ['--nproc_per_node', str(ranks), '--master_port', str(port), '--start-method', 'fork']
    config, _, _ = run.config_from_args(run.parse_args([*options, 'train.py']))
    try:
        elastic_launch(config, train)(*arguments, '--launcher', 'pytorch')
    except ChildFailedError as error:
        sys.exit(str(error))


def _become(request: dict[str, Any]) -> None:
    os.environ.update(request['env'])
    out = os.open(request['out'], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(out, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if request['ranks'] > 1:
        torchrun(request['arguments'], request['ranks'], request['port'])
    else:
        train(*request['arguments'])


def main() -> None:
    """Read a request per line; answer with the process and, later, its exit status."""
    # mmpretrain imports all of mmdet where there is one, a third of the time, and pre-training needs none of it.
    sys.modules['mmdet'] = None

    import torch.distributed.launcher.api  # noqa: F401

    for name in sys.argv[1:]:
        importlib.import_module(name)

    import repre_mm.engine.launch
    import repre_mm.transfer.loading  # noqa: F401

    while line := sys.stdin.readline():
        pid = os.fork()
        if pid == 0:
            _become(json.loads(line))
            return
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == '__main__':
    main()
