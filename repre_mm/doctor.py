"""``python -m repre_mm.doctor``: is this installation able to pre-train, and if not, what is the fix?

Every check returns plain :class:`Finding` rows and imports what it looks at only when it runs, so that the
doctor starts in a half-made environment too. Faults of what only detection and segmentation need (mmcv's
compiled ops, mmdet, mmseg) are warnings: pre-training does not touch them.
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

# One name per registry and package that a config reaches: (registry, name, needed for pre-training).
REGISTERED = (
    ('MODELS', 'repre_mm.RePreAlgorithm', True),
    ('DATASETS', 'repre_mm.ImageFolder', True),
    ('TRANSFORMS', 'repre_mm.LoadImage', True),
    ('MODELS', 'mmpretrain.MoCoV3', True),
    ('MODELS', 'mmdet.MaskRCNN', False),
    ('MODELS', 'mmseg.EncoderDecoder', False),
)


@dataclass(frozen=True)
class Finding:
    """One row of the report.

    Attributes:
        name: What was looked at.
        value: What was found, on one line.
        level: ``'ok'``, ``'warning'`` (pre-training works all the same) or ``'error'`` (it does not).
        fix: What to do about it; empty when the level is ``'ok'``.
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


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> list[Finding]:
    """Python itself: 3.10, 3.11 or 3.12."""
    text = '.'.join(map(str, version))
    if PYTHON_RANGE[0] <= version[:2] < PYTHON_RANGE[1]:
        return [Finding('python', text)]
    fix = 'make the environment with a supported one: `make clean-env setup PYTHON=python3.11`'
    return [_fault('python', f'{text}, but 3.10, 3.11 or 3.12 is needed', fix, needed=True)]


def wanted_versions() -> dict[str, str]:
    """Version ranges that repre_mm's own metadata asks for: ``{'torch': '==2.11.*', ...}``.

    Empty when repre_mm (or packaging) is not installed; :func:`check_package` then reports that by itself.
    """
    try:
        from packaging.requirements import Requirement

        requirements = map(Requirement, importlib.metadata.requires('repre_mm') or [])
        return {requirement.name: str(requirement.specifier) for requirement in requirements}
    except (ImportError, importlib.metadata.PackageNotFoundError):
        return {}


def check_package(label: str, wanted: dict[str, str]) -> Finding:
    """One package of :data:`PACKAGES`: installed, in the wanted range, and importable.

    Args:
        label: A key of :data:`PACKAGES`.
        wanted: Ranges by distribution, as :func:`wanted_versions` gives them.
    """
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


def check_family(version_of: Callable[[str], str | None] = installed_version) -> list[Finding]:
    """OpenMMLab's originals or the onedl forks: exactly one of them.

    Args:
        version_of: Installed version of a distribution, or None.
    """
    try:
        return [Finding('family', find_family(version_of))]
    except StackError as error:
        return [_fault('family', str(error), 'run the command at the end of that line', needed=True)]


def check_opencv(version_of: Callable[[str], str | None] = installed_version) -> list[Finding]:
    """At most one build of OpenCV (see :data:`OPENCV`).

    Args:
        version_of: Installed version of a distribution, or None.
    """
    found = [name for name in OPENCV if version_of(name)]
    if len(found) < 2:
        return []
    fix = f'pip uninstall -y {" ".join(found)}, then pip install one of them'
    return [_fault('opencv', f'{" and ".join(found)} write the same files', fix, needed=False)]


def _nms_works(device: str) -> bool:
    """Two boxes that overlap by 0.5 and one apart: NMS at 0.4 keeps the better of the two and the third."""
    import torch
    from mmcv.ops import nms

    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30]], device=device)
    scores = torch.tensor([0.9, 0.8, 0.7], device=device)
    return nms(boxes, scores, iou_threshold=0.4)[1].tolist() == [0, 2]


def check_mmcv_ops(run_nms: Callable[[str], bool] = _nms_works) -> list[Finding]:
    """mmcv's compiled ops, by running one (NMS) on the CPU and, where there is one, on the GPU.

    Args:
        run_nms: Takes a device name, runs NMS there and says whether the result is right.
    """
    name = 'mmcv ops'
    try:
        import torch

        devices = ['cpu', 'cuda'] if torch.cuda.is_available() else ['cpu']
    except ImportError:
        return [_fault(name, 'cannot be tried without torch', SETUP_FIX, needed=False)]
    for device in devices:
        try:
            right = run_nms(device)
        except Exception as error:  # missing extension, missing symbol, op without a kernel for this device
            fix = OPS_FIX
            if device == 'cuda':
                fix = f'install the CUDA {torch.version.cuda} compiler (nvcc) and `make clean-env setup-ops`'
            return [_fault(name, f'NMS fails on {device}: {_cause(error)}', fix, needed=False)]
        if not right:
            return [_fault(name, f'NMS on {device} gives wrong boxes', OPS_FIX, needed=False)]
    return [Finding(name, f'compiled; NMS is right on {" and ".join(devices)}')]


def check_devices() -> list[Finding]:
    """CPU cores, bfloat16 instructions, and the GPUs that torch can use."""
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
            properties = torch.cuda.get_device_properties(index)
            memory = properties.total_memory / 2**30
            value = f'{properties.name}, {memory:.0f} GiB, CUDA {torch.version.cuda}'
            findings.append(Finding(f'gpu {index}', value))
    elif Path('/proc/driver/nvidia/version').exists():
        fix = f'update the NVIDIA driver to one for CUDA {torch.version.cuda}, or unset CUDA_VISIBLE_DEVICES'
        findings.append(_fault('gpu', 'an NVIDIA driver is loaded, but torch sees no GPU', fix, needed=False))
    else:
        findings.append(Finding('gpu', 'none (the demo and the tests run on the CPU)'))
    return findings


def check_registered(registry: str, name: str, needed: bool) -> Finding:
    """One name resolves through repre_mm's registries, from whichever package it comes.

    Args:
        registry: A name in ``repre_mm.registry``, such as ``'MODELS'``.
        name: What a config would write as ``type``.
        needed: Whether pre-training needs it.
    """
    try:
        found = getattr(importlib.import_module('repre_mm.registry'), registry).get(name)
    except Exception as error:  # resolving imports whole packages
        return _fault(name, f'cannot be looked up: {_cause(error)}', SETUP_FIX, needed)
    if found is None:
        return _fault(name, f'is not in the registry {registry}', SETUP_FIX, needed)
    return Finding(name, f'in {found.__module__}')


def check_disk(folder: str | Path = '.', free_bytes: int | None = None) -> list[Finding]:
    """Free space for checkpoints under ``folder``; ``free_bytes`` replaces the measured value."""
    free = (shutil.disk_usage(folder).free if free_bytes is None else free_bytes) / 2**30
    if free >= MIN_FREE_GIB:
        return [Finding('free disk', f'{free:.0f} GiB')]
    fix = 'free some space, or write elsewhere with --work-dir'
    return [_fault('free disk', f'{free:.1f} GiB, a run may need {MIN_FREE_GIB} GiB', fix, needed=False)]


def examine() -> Iterator[Finding]:
    """All checks, one row at a time: the imports take some seconds together."""
    yield from check_python()
    (family,) = check_family()
    yield family
    wanted = wanted_versions()
    packages_work = family.level == 'ok'
    for label in PACKAGES:
        finding = check_package(label, wanted)
        packages_work &= finding.level != 'error'
        yield finding
    yield from check_opencv()
    yield from check_mmcv_ops()
    yield from check_devices()
    if packages_work:  # otherwise every look-up would fail for the reasons given above
        for registry, name, needed in REGISTERED:
            if needed or distributions_of(name.partition('.')[0]):
                yield check_registered(registry, name, needed)
    yield from check_disk()


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
