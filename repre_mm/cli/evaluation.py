"""What the evaluation command lines share: arguments, errors, and the JSON that they write."""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from repre_mm.cli.arguments import SettingsAction, add_traceback_argument
from repre_mm.cli.errors import one_line_errors
from repre_mm.evaluation.protocol import EvaluationError, evaluate_config
from repre_mm.utils.stack import stack_versions


def evaluation_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the arguments that every evaluation of a frozen encoder takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='the config that the encoder was pre-trained with')
    parser.add_argument('checkpoint', help="a training checkpoint, or the word 'random' for random weights")
    parser.add_argument('--data', metavar='DIR', help='holds {train,val}/<class>/* (default: data_root of the config)')
    parser.add_argument('--out', type=Path, metavar='FILE', help='write the result here, as JSON')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='default: %(default)s')
    parser.add_argument('--batch-size', type=int, default=128, help='images per forward pass (default: %(default)s)')
    parser.add_argument('--workers', type=int, default=2, help='image loading processes (default: %(default)s)')
    parser.add_argument('--amp', action='store_true', help='run the encoder in bfloat16')
    parser.add_argument('--seed', type=int, default=0, help='of random weights and of the probe (default: %(default)s)')
    parser.add_argument('--trust', action='store_true', help='unpickle the checkpoint: it may run code; trusted only')
    parser.add_argument(
        '--cfg-options', nargs='+', action=SettingsAction, metavar='KEY=VALUE', help='change the config'
    )
    add_traceback_argument(parser)
    return parser


def run_evaluation(args: argparse.Namespace, protocol: str, options: dict[str, Any]) -> dict[str, Any]:
    """Evaluate as the arguments say and write the JSON; user errors end the process with one line.

    Args:
        args: From a parser of :func:`evaluation_parser`.
        protocol: ``'knn'`` or ``'linear'``.
        options: Keywords of that protocol, see :func:`repre_mm.evaluation.evaluate_config`.

    Returns:
        The result of :func:`repre_mm.evaluation.evaluate_config`, with the versions of the stack.
    """

    def evaluate(cfg: Config, **common: Any) -> dict[str, Any]:
        return evaluate_config(
            cfg, args.checkpoint, args.data, protocols=[protocol], **{f'{protocol}_options': options}, **common
        )

    return run_guarded(args, evaluate)


def run_guarded(args: argparse.Namespace, evaluate: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Read the config, evaluate, write the JSON; user errors end the process with one line.

    Args:
        args: From a parser of :func:`evaluation_parser`.
        evaluate: ``(cfg, batch_size=, workers=, device=, amp=, seed=, trust=) -> result``.

    Returns:
        The result, with the versions of the stack.
    """
    with one_line_errors('the evaluation', args.traceback):
        if not Path(args.config).is_file():
            raise EvaluationError(f'there is no config {args.config}: name one under configs/')
        if args.out and not args.out.parent.is_dir():
            raise EvaluationError(f'--out {args.out}: there is no folder {args.out.parent}')
        cfg = Config.fromfile(args.config)
        cfg.merge_from_dict(args.cfg_options or {})
        common = {name: getattr(args, name) for name in ('batch_size', 'workers', 'device', 'amp', 'seed', 'trust')}
        result = evaluate(cfg, **common)
    result['versions'] = stack_versions()
    if args.out:
        write_json(result, args.out)
    print(
        f'\n{result["config"]}, {result["checkpoint"]}: {result["train_images"]:,} training and '
        f'{result["val_images"]:,} validation images, {result["classes"]} classes, '
        f'{result["image_size"]} pixels'
    )
    return result


def write_json(result: dict[str, Any], path: Path) -> None:
    """Write a result so that an interrupted run leaves the old file or the new one, never half of one."""
    temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    temporary.write_text(json.dumps(result, indent=2) + '\n')
    temporary.replace(path)
