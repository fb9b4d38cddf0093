"""Check an installation, and print the fix of each fault: ``repre doctor`` or ``python -m repre_mm.doctor``.

Each check imports what it looks at only when it runs, so that the doctor starts in a half-made environment too. Faults
of what only detection and segmentation need (mmcv's compiled ops, mmdet, mmseg) are warnings; its absence is none.
"""

import importlib
import logging
import os
import platform
import signal
import sys
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from repre_mm.utils.stack import FAMILIES, NEEDED, StackError, distributions_of, find_family, installed_version

# Not `make setup` alone: that returns at once where it was complete before something was changed by hand.
SETUP_FIX = 'run `make clean-env setup` in the repository and use its .venv/bin/python'
OPS_FIX = '`make setup-ops` in the repository, or with pip see docs/install.md'


class Finding(NamedTuple):
    """One row of the report.

    Attributes:
        level: ``'ok'``, ``'absent'`` (detection and segmentation need it), ``'warning'`` (pre-training works all the
            same) or ``'error'`` (it does not).
        fix: What to do about a warning or an error.
    """

    name: str
    value: str
    level: str = 'ok'
    fix: str = ''


def _cause(error: Exception) -> str:
    return f'{type(error).__name__}: {error}'.strip().splitlines()[0]


def check_family() -> Finding:
    """Check that either OpenMMLab's originals or the onedl forks are installed."""
    try:
        return Finding('family', find_family())
    except StackError as error:
        return Finding('family', str(error), 'error', 'run the command at the end of that line')


def check_package(name: str) -> Finding:
    """Check that a package is installed, in the range that repre_mm's metadata asks for, and can be imported."""
    member = name in FAMILIES['onedl']
    level, fix = ('warning', OPS_FIX) if member and name not in NEEDED else ('error', SETUP_FIX)
    found = distributions_of(name) if member else {name: installed_version(name)}
    distribution, version = next(iter(found.items()), (name, None))
    if version is None:
        return Finding(name, 'not installed', 'absent' if level == 'warning' else level, fix)
    try:
        from packaging.requirements import Requirement

        wanted = {r.name: r.specifier for r in map(Requirement, metadata.requires('repre_mm') or ())}
        if distribution in wanted and not wanted[distribution].contains(version, prereleases=True):
            return Finding(name, f'{version}, but repre_mm is tested with {wanted[distribution]}', level, SETUP_FIX)
        # torch says its build there: 2.11.0+cu130
        return Finding(name, getattr(importlib.import_module(name), '__version__', version))
    except Exception as error:  # a broken install raises anything, such as OSError for a missing library
        return Finding(name, f'{version} cannot be imported: {_cause(error)}', level, fix)


def check_mmcv_ops() -> Finding:
    """Run one of mmcv's compiled ops: NMS keeps the better of two boxes that overlap by 0.5, and one apart."""
    try:
        import torch
        from mmcv.ops import nms

        boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30]])
        kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7]), iou_threshold=0.4)[1].tolist()
    except ModuleNotFoundError:
        return Finding('mmcv ops', 'not compiled', 'absent')
    except Exception as error:  # a missing symbol
        return Finding('mmcv ops', f'NMS fails: {_cause(error)}', 'warning', OPS_FIX)
    if kept != [0, 2]:
        return Finding('mmcv ops', 'NMS gives wrong boxes', 'warning', OPS_FIX)
    return Finding('mmcv ops', 'compiled; NMS is right')


def check_gpu() -> Finding:
    """List the GPUs that torch can use."""
    try:
        import torch
    except ImportError:
        return Finding('gpu', 'unknown without torch')
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Finding('gpu', f'{", ".join(names)}; CUDA {torch.version.cuda}')
    if Path('/proc/driver/nvidia/version').exists():
        fix = f'update the NVIDIA driver to one for CUDA {torch.version.cuda}, or unset CUDA_VISIBLE_DEVICES'
        return Finding('gpu', 'an NVIDIA driver is loaded, but torch sees no GPU', 'warning', fix)
    return Finding('gpu', 'none (the demo and the tests run on the CPU)')


def examine() -> Iterator[Finding]:
    """Yield one row after the other: the imports take some seconds together."""
    # Not os.cpu_count(): containers and batch systems pin to fewer.
    yield Finding('python', f'{platform.python_version()}, {len(os.sched_getaffinity(0))} CPU cores')
    yield check_family()
    for name in ('torch', 'torchvision', 'timm', *FAMILIES['onedl'], 'repre_mm'):
        yield check_package(name)
    yield check_mmcv_ops()
    yield check_gpu()


def report() -> int:
    """Run every check, and print a row for each and then the verdict.

    Returns:
        Exit code: 1 when something that pre-training needs is broken, else 0.
    """
    faults = {'absent': [], 'warning': [], 'error': []}
    for name, value, level, fix in examine():
        print(f'{name:<12} {value}', flush=True)
        if level != 'ok':
            faults[level].append(name)
        if level in ('warning', 'error'):
            print(f'  {level}, fix: {fix}')
    if faults['error']:
        print(f'\nPre-training cannot run: {", ".join(faults["error"])}.')
        return 1
    warned = f', with {len(faults["warning"])} warning(s)' if faults['warning'] else ''
    print(f'\nPre-training works{warned}.')
    if faults['absent']:
        print(f'Detection and segmentation need more: {OPS_FIX}.')
    return 0


def main() -> int:
    """Print the report in a process of its own."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `repre doctor | head` ends without a traceback
    warnings.simplefilter('ignore')  # the libraries' import-time warnings would tear the table apart
    logging.disable(logging.WARNING)
    return report()


if __name__ == '__main__':
    sys.exit(main())
