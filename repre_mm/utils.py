"""Small helpers that belong to no room of their own."""

from __future__ import annotations

import argparse
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

from mmengine.config import DictAction
from torch import nn


class SettingsAction(DictAction):
    """mmengine's reader of ``KEY=VALUE``, with an error where there is no ``=``."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: list[str],
        option_string: str | None = None,
    ) -> None:
        """Called by argparse."""
        wrong = [value for value in values if '=' not in value]
        if wrong:
            parser.error(f'{option_string} {wrong[0]}: write it as KEY=VALUE')
        super().__call__(parser, namespace, values, option_string)


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode for a while and give every submodule its former mode back.

    ``module.train()`` would not do to restore: it turns on frozen parts that were in evaluation mode before.
    """
    modes = {child: child.training for child in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for child, training in modes.items():
            child.training = training


def plain_message(error: BaseException) -> str:
    """What an error says, without the traceback that torch puts before it when a loading process raised it."""
    # str() of a KeyError would put the message in quotes.
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return re.sub(r'\ACaught \w+ in DataLoader worker process .*\n[\w.]+: ', '', text, flags=re.DOTALL).rstrip()


def stack_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    names = ['torch', 'torchvision', 'timm', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain', 'repre_mm']
    return {'python': platform.python_version(), **{name: metadata.version(name) for name in names}}
