"""Define the arguments that several commands share."""

from __future__ import annotations

import argparse
import os
from functools import partial
from typing import Any

from mmengine.config import DictAction

from repre_mm.datasets.reading import check_range


def add_cfg_options(parser: argparse.ArgumentParser, text: str) -> None:
    """Add ``--cfg-options``, read as mmengine does."""
    options = {'nargs': '+', 'type': _setting, 'action': DictAction, 'metavar': 'KEY=VALUE', 'help': text}
    parser.add_argument('--cfg-options', **options)


def _setting(word: str) -> str:
    if '=' not in word:
        raise argparse.ArgumentTypeError(f'{word}: write it as KEY=VALUE')
    return word


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that training and testing share."""
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='where logs, checkpoints and pictures go (default: work_dirs/CONFIG_NAME)')
    parser.add_argument(
        '--data',
        metavar='DATA',
        help="replaces the config's data_root: a folder; for images also a list (.txt, .csv), shards-{000..003}.tar, "
        '.parquet, .lmdb or a URL of these',
    )
    add_decoding_arguments(parser)
    parser.add_argument('--amp', action='store_true', help='bf16 autocast, on GPU and CPU')
    add_cfg_options(parser, 'override config values, for instance train_dataloader.batch_size=64')
    add_launcher_arguments(parser)
    add_traceback_argument(parser)


def add_launcher_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what a process has to know of those beside it."""
    started = 'pytorch' if 'TORCHELASTIC_RUN_ID' in os.environ else 'none'
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm'],
        default=started,
        help='how the processes were started (default: pytorch under torchrun, else none)',
    )
    # torchrun passes it as an argument in some versions and as a variable in all.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


class DecodingAction(argparse.Action):
    """Put an option into ``args.decoding``, keywords of :func:`repre_mm.datasets.read_image`."""

    def __call__(self, parser: Any, namespace: Any, values: int | list[str], option_string: str | None = None) -> None:
        """Called by argparse."""
        value = values
        try:
            if self.const == 'value_range':
                value = 'percentile' if values == ['percentile'] else tuple(map(float, values))
                check_range(value)
        except ValueError:
            parser.error(
                f"{option_string} {' '.join(values)}: give two rising numbers, such as 0 4095, or 'percentile'"
            )
        namespace.decoding = {**namespace.decoding, self.const: value}


def add_decoding_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how images are decoded; see :func:`repre_mm.datasets.read_image`."""
    common = {'action': DecodingAction, 'dest': 'decoding', 'default': {}}
    parser.add_argument(
        '--max-pixels',
        **common,
        const='max_pixels',
        type=positive,
        metavar='N',
        help='refuse larger images (default: 100 million pixels)',
    )
    parser.add_argument(
        '--range',
        **common,
        const='value_range',
        nargs='+',
        metavar='VALUE',
        help="what becomes black and white in 16 and 32-bit images: two numbers, or 'percentile' (of each image)",
    )


def add_traceback_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that :func:`repre_mm.cli.errors.one_line_errors` takes."""
    parser.add_argument(
        '--traceback', action='store_true', help='show where an error was raised (always: REPRE_TRACEBACK=1)'
    )


def positive(text: str) -> int:
    """Read a whole number of 1 at least."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number of 1 at least')
    return int(text)


def network(text: str, timm: bool = False) -> str:
    """Read ``online`` or ``target``, or ``timm:MODEL`` where that is allowed."""
    if text in ('online', 'target') or (timm and text.startswith('timm:')):
        return text
    raise argparse.ArgumentTypeError(f'{text!r} is neither online nor target' + ' nor timm:MODEL' * timm)


def add_encoder_options(parser: argparse.ArgumentParser | argparse._ArgumentGroup, timm: bool = False) -> None:
    """Add the options that choose a network of a file of weights; see :mod:`repre_mm.evaluation.encoders`.

    Args:
        parser: Gets the options.
        timm: Let ``--encoder timm:MODEL`` replace a pre-training config's encoder.
    """
    parser.add_argument('--prefix', help="where in the file the encoder is, if not where it is found ('': all of it)")
    parser.add_argument(
        '--encoder',
        type=partial(network, timm=timm),
        metavar='{online,target}',
        dest='network',
        help="the network to take (default: the one that the method's authors evaluate: DINO's and iBOT's target)"
        + '; in pre-training, timm:MODEL replaces the encoder' * timm,
    )
    parser.add_argument('--trust', action='store_true', help='unpickle the file: it may run code; for trusted files')


def add_transfer_arguments(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the arguments of detection and segmentation, and return their group."""
    group = parser.add_argument_group('detection and segmentation')
    group.add_argument(
        '--classes',
        nargs='+',
        metavar='NAME',
        help='detection: some of the categories; segmentation: the names, or their number, or a file with them '
        '(default: what the data says). It takes every word up to the next option: give it last',
    )
    group.add_argument(
        '--masks',
        metavar='DIR',
        help='segmentation: folder of masks, for images in --data; both hold train and val (test), or {split} in the '
        'name stands for these, or all is in one folder (default: --data is laid out as Cityscapes)',
    )
    group.add_argument(
        '--ignore-label',
        type=int,
        metavar='N',
        help='segmentation: the label of void in the masks, beside 255; the labels above it move down by one',
    )
    group.add_argument(
        '--image-size',
        nargs='+',
        type=int,
        metavar='N',
        help='detection: the shorter side at most, and the longer one; segmentation: height and width of the crop',
    )
    return group
