"""The files that come with the package (configs and tools), by name, from a wheel and from a clone alike."""

from __future__ import annotations

import difflib
from pathlib import Path, PurePosixPath

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from repre_mm.utils.configs import find_nodes
from repre_mm.utils.errors import UserError

#: Where mim and mmengine look for a package's configs and tools; in a clone these are links.
FILES = Path(__file__).resolve().parents[1] / '.mim'


def find_config(name: str) -> Path:
    """Find a config by its path, or by its name among those that come with the package.

    Args:
        name: A file, or the end of a config's path with or without ``.py``: ``mocov3/repre_mocov3_vit-small...``.

    Raises:
        UserError: There is no such config, or several; the message lists what is near.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    wanted = PurePosixPath(name.removesuffix('.py').removeprefix('repre_mm::').removeprefix('configs/')).parts
    root = (FILES / 'configs').resolve()  # rglob does not follow links
    files = [file for file in root.rglob('*.py') if '_base_' not in file.parts]
    configs = {file.relative_to(root).with_suffix('').parts: file for file in files}
    found = [parts for parts in configs if parts[-len(wanted) :] == wanted]
    if len(found) == 1:
        return configs[found[0]]
    if found:
        raise UserError(f'{name} is the name of {len(found)} configs: {", ".join(map("/".join, sorted(found)))}')
    close = difflib.get_close_matches(wanted[-1], [parts[-1] for parts in configs], n=3) if wanted else []
    near = sorted('/'.join(parts) for parts in configs if parts[-1] in close)
    hint = f' Did you mean {" or ".join(near)}?' if near else ''
    raise UserError(f'there is no config {name}: name a file, or one of the configs that are under {root}/.{hint}')


def load_config(name: str) -> Config:
    """Read a config by its path or name; it may inherit from configs of this package.

    Raises:
        UserError: See :func:`find_config`.
    """
    path = find_config(name)
    register_configs()
    cfg = Config.fromfile(path)
    # What mmengine notes in each dictionary that comes from another package's config: here types are spelled in full.
    for node in list(find_nodes(cfg._cfg_dict, '_scope_', 'repre_mm')):
        del node['_scope_']
    return cfg


def register_configs() -> None:
    """Let mmengine find ``_base_ = 'repre_mm::pretrain/...'`` in a user's config.

    mmengine knows the packages whose configs can be inherited from a table. The project's own commands call this; who
    builds a Runner in another way calls it before reading the config.
    """
    MODULE2PACKAGE.setdefault('repre_mm', 'repre_mm')
