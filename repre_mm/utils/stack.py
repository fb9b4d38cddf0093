"""The installed OpenMMLab family, and the versions that a result depends on.

OpenMMLab's packages exist twice: as OpenMMLab publishes them, and as the maintained onedl forks. Both unpack into the
same import packages (``mmengine``, ``mmcv``, ...) and pip does not notice, so whichever was installed last wins, file
by file. Everything here reads metadata only and imports none of them.
"""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Callable
from functools import cache
from importlib import metadata

from repre_mm.version import __version__

#: Import package -> distributions that contain it, by family. The first one is the full package.
FAMILIES = {
    'openmmlab': {
        'mmengine': ('mmengine', 'mmengine-lite'),
        'mmcv': ('mmcv', 'mmcv-lite', 'mmcv-full'),
        'mmpretrain': ('mmpretrain',),
        'mmdet': ('mmdet',),
        'mmseg': ('mmsegmentation',),
    },
    'onedl': {
        'mmengine': ('onedl-mmengine',),
        'mmcv': ('onedl-mmcv',),
        'mmpretrain': ('onedl-mmpretrain',),
        'mmdet': ('onedl-mmdetection',),
        'mmseg': ('onedl-mmsegmentation',),
    },
}
#: What pre-training imports; mmdet and mmseg are for detection and segmentation.
NEEDED = ('mmengine', 'mmcv', 'mmpretrain')


class StackError(ImportError):
    """OpenMMLab's packages are missing or two families are mixed; the message has the command that fixes it."""


def installed_version(distribution: str) -> str | None:
    """Version of an installed distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def distributions_of(module: str, version_of: Callable[[str], str | None] = installed_version) -> dict[str, str]:
    """Installed distributions that contain an import package: ``{'mmcv-lite': '2.1.0'}``."""
    names = [name for family in FAMILIES.values() for name in family[module]]
    return {name: version for name in names if (version := version_of(name))}


def find_family(version_of: Callable[[str], str | None] = installed_version) -> str:
    """Tell which family is installed: ``'openmmlab'`` or ``'onedl'``; ``'source'`` for sources on the Python path.

    Args:
        version_of: Installed version of a distribution, or None.

    Raises:
        StackError: No family is complete enough to pre-train, packages of both are installed, or two distributions
            contain the same package.
    """
    found = {module: distributions_of(module, version_of) for module in FAMILIES['onedl']}
    every = {name: version for names in found.values() for name, version in names.items()}
    families = [name for name, members in FAMILIES.items() if any(set(found[m]) & set(members[m]) for m in members)]
    if len(families) > 1 or any(len(names) > 1 for names in found.values()):
        extra = 'onedl' if families == ['onedl'] else 'openmmlab'
        raise StackError(
            f'OpenMMLab packages that overwrite each other are installed: {_listed(every)}. Remove all of them and '
            f"install one family: pip uninstall -y {' '.join(every)} && pip install 'repre_mm[{extra}]'"
            + ('' if len(families) == 1 else ", or 'repre_mm[onedl]'")
        )
    missing = [module for module in NEEDED if not found[module]]
    if not missing:
        return families[0]
    if version_of is installed_version and all(importlib.util.find_spec(module) for module in missing):
        return families[0] if families else 'source'
    if families:
        raise StackError(
            f'{_listed(every)} of the family {families[0]} is installed, but not {", ".join(missing)}: '
            f"pip install 'repre_mm[{families[0]}]'"
        )
    raise StackError(
        'none of the OpenMMLab packages that repre_mm runs on (mmengine, mmcv, mmpretrain) is installed: '
        "pip install 'repre_mm[openmmlab]', or 'repre_mm[onedl]' for the maintained forks"
    )


@cache
def check_stack() -> None:
    """Raise :class:`StackError` unless exactly one family is installed; a look at the metadata, once per process."""
    find_family()


def stack_versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that decide a result."""
    members = {name: version for module in NEEDED for name, version in distributions_of(module).items()}
    libraries = {name: metadata.version(name) for name in ('torch', 'torchvision', 'timm')}
    return {'python': platform.python_version(), **libraries, **members, 'repre_mm': __version__}


def _listed(versions: dict[str, str]) -> str:
    return ', '.join(f'{name} {version}' for name, version in versions.items())
