"""Check an installation, and print the fix of each fault: ``repre doctor`` or ``python -m repre_mm.doctor``.

Each check imports what it looks at only when it runs, so that the doctor starts in a half-made environment too. Faults
of what only detection and segmentation need (mmcv's compiled ops, mmdet, mmseg) are warnings.
"""

import importlib
import importlib.metadata
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from repre_mm.utils.stack import FAMILIES, StackError, distributions_of, find_family, installed_version

# Not `make setup` alone: that returns at once where it was complete before something was changed by hand.
SETUP_FIX = 'run `make clean-env setup` in the repository and use its .venv/bin/python'
OPS_FIX = 'only detection and segmentation need it: `make setup-ops` in the repository, or with pip see docs/stack.md'
PYTHON_RANGE = ((3, 10), (3, 13))  # first supported, first unsupported
MIN_FREE_GIB = 5  # a ViT-S run that keeps three checkpoints with optimizer state, and its logs

# Import package: needed for pre-training. mmpretrain imports mmcv, but not its ops.
PACKAGES = {
    'torch': True,
    'torchvision': True,
    'mmengine': True,
    'mmcv': True,
    'mmpretrain': True,
    'mmdet': False,
    'mmseg': False,
    'timm': True,
    'repre_mm': True,
}

# Builds of OpenCV unpack into the same folder: whichever was installed last wins, file by file.
OPENCV = ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python', 'opencv-contrib-python-headless')


@dataclass(frozen=True)
class Finding:
    """One row of the report: what was looked at, and what was found.

    Attributes:
        level: ``'ok'``, ``'warning'`` (pre-training works all the same) or ``'error'`` (it does not).
        fix: What to do; empty when the level is ``'ok'``.
    """

    name: str
    value: str
    level: str = 'ok'
    fix: str = ''


def _fault(name: str, value: str, fix: str, needed: bool) -> Finding:
    return Finding(name, value, 'error' if needed else 'warning', fix)


def _cause(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f'{type(error).__name__}: {lines[0]}' if lines else type(error).__name__


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Check that Python is 3.10, 3.11 or 3.12."""
    text = '.'.join(map(str, version))
    if PYTHON_RANGE[0] <= version[:2] < PYTHON_RANGE[1]:
        return Finding('python', text)
    fix = 'make the environment with a supported one: `make clean-env setup PYTHON=python3.11`'
    return Finding('python', f'{text}, but 3.10, 3.11 or 3.12 is needed', 'error', fix)


def wanted_versions() -> dict[str, str]:
    """Return the ranges that repre_mm's metadata asks for, ``{'torch': '==2.11.*', ...}``; empty without metadata."""
    try:
        from packaging.requirements import Requirement

        requirements = map(Requirement, importlib.metadata.requires('repre_mm') or [])
        return {requirement.name: str(requirement.specifier) for requirement in requirements}
    except (ImportError, importlib.metadata.PackageNotFoundError):
        return {}


def check_package(label: str, wanted: dict[str, str]) -> Finding:
    """Check that a package of :data:`PACKAGES` is installed, in the range of :func:`wanted_versions`, and imports."""
    needed = PACKAGES[label]
    fix = SETUP_FIX if needed else OPS_FIX
    found = distributions_of(label) if label in FAMILIES['onedl'] else {label: installed_version(label)}
    distribution, version = next(iter(found.items()), (label, None))
    if version is None:
        return _fault(label, f'{label} is not installed', fix, needed)
    specifier = wanted.get(distribution, '')
    if specifier:
        from packaging.specifiers import SpecifierSet

        if not SpecifierSet(specifier).contains(version, prereleases=True):
            return _fault(label, f'{version}, but repre_mm is tested with {specifier}', SETUP_FIX, needed)
    try:
        imported = importlib.import_module(label)
    except Exception as error:  # a broken install raises anything, such as OSError for a missing library
        return _fault(label, f'{version} does not import: {_cause(error)}', fix, needed)
    # torch says its build there: 2.11.0+cu130
    return Finding(label, getattr(imported, '__version__', version))


def check_family(version_of: Callable[[str], str | None] = installed_version) -> Finding:
    """Check that either OpenMMLab's originals or the onedl forks are installed."""
    try:
        return Finding('family', find_family(version_of))
    except StackError as error:
        return Finding('family', str(error), 'error', 'run the command at the end of that line')


def check_opencv(version_of: Callable[[str], str | None] = installed_version) -> Finding | None:
    """Warn of more than one build of OpenCV (see :data:`OPENCV`)."""
    found = [name for name in OPENCV if version_of(name)]
    if len(found) < 2:
        return None
    fix = f'pip uninstall -y {" ".join(found)}, then pip install one of them'
    return Finding('opencv', f'{" and ".join(found)} write the same files', 'warning', fix)


def check_mmcv_ops() -> Finding:
    """Run one of mmcv's compiled ops: NMS keeps the better of two boxes that overlap by 0.5, and one apart."""
    try:
        import torch
        from mmcv.ops import nms

        boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30]])
        kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7]), iou_threshold=0.4)[1].tolist()
    except Exception as error:  # a missing package, extension or symbol
        return Finding('mmcv ops', f'NMS fails: {_cause(error)}', 'warning', OPS_FIX)
    if kept != [0, 2]:
        return Finding('mmcv ops', 'NMS gives wrong boxes', 'warning', OPS_FIX)
    return Finding('mmcv ops', 'compiled; NMS is right')


def check_devices() -> list[Finding]:
    """List CPU cores, bfloat16 instructions, and the GPUs that torch can use."""
    cores = len(os.sched_getaffinity(0))  # not os.cpu_count(): containers and batch systems pin to fewer
    try:
        import torch

        capabilities = torch.cpu.get_capabilities()
    except (ImportError, AttributeError):
        return [Finding('cpu', f'{cores} cores')]
    bf16 = any(capabilities.get(key) for key in ('avx512_bf16', 'amx_bf16'))
    findings = [Finding('cpu', f'{cores} cores, bfloat16 instructions: {"yes" if bf16 else "no"}')]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(index)
            value = f'{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}'
            findings.append(Finding(f'gpu {index}', value))
    elif Path('/proc/driver/nvidia/version').exists():
        fix = f'update the NVIDIA driver to one for CUDA {torch.version.cuda}, or unset CUDA_VISIBLE_DEVICES'
        findings.append(Finding('gpu', 'an NVIDIA driver is loaded, but torch sees no GPU', 'warning', fix))
    else:
        findings.append(Finding('gpu', 'none (the demo and the tests run on the CPU)'))
    return findings


def check_disk() -> Finding:
    """Check that there is room for checkpoints in the current folder."""
    free = shutil.disk_usage('.').free / 2**30
    if free >= MIN_FREE_GIB:
        return Finding('free disk', f'{free:.0f} GiB')
    fix = 'free some space, or write elsewhere with --work-dir'
    return Finding('free disk', f'{free:.1f} GiB, a run may need {MIN_FREE_GIB} GiB', 'warning', fix)


def examine() -> Iterator[Finding]:
    """Yield one row after the other: the imports take some seconds together."""
    yield check_python()
    yield check_family()
    wanted = wanted_versions()
    yield from (check_package(label, wanted) for label in PACKAGES)
    if opencv := check_opencv():
        yield opencv
    yield check_mmcv_ops()
    yield from check_devices()
    yield check_disk()


def report(findings: Iterable[Finding]) -> int:
    """Print the table, then one line with the fix for each fault, then the verdict.

    Returns:
        Exit code: 1 when something that pre-training needs is broken, else 0.
    """
    marks = {'ok': ' ', 'warning': '!', 'error': 'x'}
    faults = []
    for finding in findings:
        print(f'{marks[finding.level]} {finding.name:<24} {finding.value}', flush=True)
        if finding.level != 'ok':
            faults.append(finding)
    print()
    for finding in faults:
        print(f'{finding.level}: {finding.name}: {finding.value}. Fix: {finding.fix}')
    broken = [finding.name for finding in faults if finding.level == 'error']
    if broken:
        print(f'Pre-training cannot run: {", ".join(broken)}.')
        return 1
    print(f'Pre-training works{f"; {len(faults)} warning(s) above" if faults else ", and so does the rest"}.')
    return 0


def main() -> int:
    """Run every check and print the report."""
    warnings.simplefilter('ignore')  # the libraries' import-time warnings would tear the table apart
    logging.disable(logging.WARNING)
    return report(examine())


if __name__ == '__main__':
    sys.exit(main())
