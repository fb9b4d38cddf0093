"""What the evaluation command lines share: arguments, errors, and the JSON that they write."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process

from repre_mm.cli.arguments import (
    add_decoding_arguments,
    add_encoder_options,
    add_launcher_arguments,
    add_traceback_argument,
)
from repre_mm.cli.errors import one_line_errors
from repre_mm.distributed.processes import init_distributed, leave_distributed
from repre_mm.evaluation import EncoderName, EvaluationError, FrozenEncoder, load_frozen_encoder
from repre_mm.utils.atomic import write_json
from repre_mm.utils.stack import stack_versions

ENCODER_HELP = (
    'CONFIG CHECKPOINT (a training checkpoint or a released file), CONFIG random, timm:MODEL[,OPTION=VALUE...][:FILE], '
    'a released FILE that tells its model, the work dir of a run, or the NAME of a config whose weights are at hand'
)


def add_encoder_argument(parser: argparse.ArgumentParser) -> None:
    """Add the encoder by its name, and the options that choose a network of its file."""
    parser.add_argument('encoder', nargs='+', metavar='ENCODER', help=ENCODER_HELP)
    add_encoder_options(parser)


def evaluation_parser(description: str, *, launcher: bool = True) -> argparse.ArgumentParser:
    """Make a parser with the arguments that every evaluation of a frozen encoder takes, on several processes or one."""
    parser = argparse.ArgumentParser(description=description)
    add_encoder_argument(parser)
    parser.add_argument('--data', metavar='DIR', help='holds {train,val}/<class>/* (default: data_root of the config)')
    add_decoding_arguments(parser)
    parser.add_argument('--size', type=int, help="side of the crops in pixels (default: the encoder's)")
    parser.add_argument('--out', type=Path, metavar='FILE', help='write the result here, as JSON')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='default: %(default)s')
    parser.add_argument('--batch-size', type=int, default=128, help='images per forward pass (default: %(default)s)')
    parser.add_argument('--workers', type=int, default=2, help='image loading processes (default: %(default)s)')
    parser.add_argument('--amp', action='store_true', help='run the encoder in bfloat16')
    parser.add_argument('--seed', type=int, default=0, help='of random weights and of the probe (default: %(default)s)')
    if launcher:
        add_launcher_arguments(parser)
    add_traceback_argument(parser)
    return parser


def load_named_encoder(args: argparse.Namespace, words: Sequence[str], **backbone_options: Any) -> FrozenEncoder:
    """Load the encoder that words of a command line name, as its options say.

    Args:
        args: Holds ``prefix``, ``network``, ``trust``, ``size``, ``device`` and ``seed``.
        words: See :class:`repre_mm.evaluation.EncoderName`.
        **backbone_options: Settings that the encoder is built with.
    """
    options = {name: getattr(args, name) for name in ('prefix', 'network', 'trust', 'size', 'device', 'seed')}
    return load_frozen_encoder(EncoderName.parse(words), **options, **backbone_options)


def run_evaluation(
    args: argparse.Namespace, evaluate: Callable[..., dict[str, Any]], **backbone_options: Any
) -> dict[str, Any]:
    """Load the encoder, evaluate, write the JSON; user errors end the process with one line.

    All but the main one of several processes end here. With ``--out FILE`` what is done is kept in ``FILE.state`` until
    the end.

    Args:
        args: From a parser of :func:`evaluation_parser`.
        evaluate: ``(encoder, data_root, batch_size=, workers=, amp=, seed=, decoding=, state=) -> result``, such as
            :func:`repre_mm.evaluation.evaluate_encoder`.
        **backbone_options: Settings that the encoder is built with.

    Returns:
        The result, with the versions of the stack.
    """
    with one_line_errors('the evaluation', args.traceback):
        init_distributed(args.launcher, runner=False)
        if args.out and not args.out.parent.is_dir():
            raise EvaluationError(f'--out {args.out}: there is no folder {args.out.parent}')
        encoder = load_named_encoder(args, args.encoder, **backbone_options)
        common = {name: getattr(args, name) for name in ('batch_size', 'workers', 'amp', 'seed', 'decoding')}
        common['state'] = args.out and args.out.with_name(f'{args.out.name}.state')
        result = evaluate(encoder, args.data or encoder.data_root, **common)
        speaks = is_main_process()
        leave_distributed()
    if not speaks:
        sys.exit()
    result['versions'] = stack_versions()
    if args.out:
        write_json(result, args.out)
    print(
        f'\n{result["config"]}, {result["checkpoint"]}: {result["train_images"]:,} training and '
        f'{result["val_images"]:,} validation images, {result["classes"]} classes, '
        f'{result["image_size"]} pixels\nencoder: {result["encoder"]}'
    )
    return result
