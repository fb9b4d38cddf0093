"""Draw what a trained detector or segmentor finds in new images: ``python tools/predict.py CONFIG CHECKPOINT DIR``.

CONFIG is what the training saved in its work dir. `OUT/PATH.png` has the image and the prediction side by side.
"""

import argparse
import sys
from pathlib import Path


def parse_args() -> argparse.Namespace:
    from repre_mm.cli.arguments import add_traceback_argument

    parser = argparse.ArgumentParser(description='Draw what a trained detector or segmentor finds in new images.')
    parser.add_argument('config', help='that a training saved in its work dir')
    parser.add_argument('checkpoint', help='of that training')
    parser.add_argument('folder', metavar='DIR', help='images, at any depth')
    parser.add_argument('--out', type=Path, default=Path('predictions'), metavar='DIR', help='default: %(default)s')
    parser.add_argument(
        '--score-threshold',
        type=float,
        default=0.3,
        metavar='S',
        help='draw objects from this score (default: %(default)s)',
    )
    parser.add_argument('--device', default='cpu', help='default: %(default)s')
    parser.add_argument('--trust', action='store_true', help='unpickle the file: it may run code; for trusted files')
    add_traceback_argument(parser)
    args = parser.parse_args()
    if not 0 <= args.score_threshold <= 1:
        parser.error(f'--score-threshold {args.score_threshold} must lie in [0, 1]')
    return args


def predictions(args: argparse.Namespace):
    """Draw the images one by one: the picture of each, or why it could not be read."""
    import numpy as np
    import torch
    from mmengine.dataset import Compose
    from mmengine.registry import DefaultScope

    from repre_mm.datasets import ImageReadError, find_images, read_image
    from repre_mm.models.build import build_model
    from repre_mm.transfer.loading import load_trained
    from repre_mm.transfer.predictions import draw_found
    from repre_mm.utils.configs import find_nodes, is_transfer
    from repre_mm.utils.errors import UserError
    from repre_mm.utils.package import load_config
    from repre_mm.visualization import draw_labels, save_png, sheet

    cfg = load_config(args.config)
    if not is_transfer(cfg):
        raise UserError(f'{args.config} trains no detector or segmentor: name the config that a training saved')
    paths = find_images(args.folder)
    model = build_model(cfg)
    names = load_trained(model, cfg, args.checkpoint, trust=args.trust)
    model.to(args.device).eval()
    test = next(find_nodes(cfg.test_dataloader, 'pipeline')).pipeline
    steps = [step for step in test[1:] if not step.type.endswith(('LoadAnnotations', 'LoadLabelMap'))]
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        pipeline = Compose([{'type': 'repre_mm.LoadImage', 'channel_order': 'bgr'}, *steps])
    for path in paths:
        place = str(Path(args.folder, path))
        try:
            data = pipeline({'img_path': place, 'img_id': 0})
        except ImageReadError as error:
            yield error
            continue
        with torch.no_grad():
            (sample,) = model.test_step({name: [value] for name, value in data.items()})
        image = read_image(place)
        drawn, caption = draw_found(image, sample, names, args.score_threshold)
        plain = draw_labels(image, np.full(image.shape[:2], 255), names)
        # With the image's own ending, as a.jpg and a.png may lie in one folder.
        picture = args.out / f'{path}.png'
        picture.parent.mkdir(parents=True, exist_ok=True)
        save_png(sheet([[plain, drawn]], ['image', caption]), picture)
        yield picture


def main() -> None:
    from repre_mm.cli.errors import one_line_errors

    args = parse_args()
    drawn = damaged = 0
    with one_line_errors('the prediction', args.traceback):
        for found in predictions(args):
            if isinstance(found, Path):
                drawn += 1
            else:
                damaged += 1
                print(found, file=sys.stderr)
    print(f'{args.out}: {drawn} pictures' + f'; {damaged} images could not be read' * bool(damaged))


if __name__ == '__main__':
    from repre_mm.cli.start import run_tool

    run_tool(main)
