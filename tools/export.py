"""Write the encoder of a checkpoint for another library: tensors only, checked, with a note of their origin.

python tools/export.py ENCODER OUT --to {mmpretrain,mmdet,mmseg,timm,safetensors,onnx,torch-export}
python tools/export.py ENCODER FOLDER --to hub [--repo USER/NAME]
"""

import argparse
import math
import sys
from pathlib import Path

MM_USE = "backbone=dict({model}, init_cfg=dict(type='Pretrained', checkpoint='{out}'{prefix}))"
USE = {
    'mmpretrain': MM_USE,
    'mmdet': MM_USE,
    'mmseg': MM_USE,
    'timm': "timm.create_model({timm}, num_classes=0, checkpoint_path='{out}')",
    'safetensors': "safetensors.torch.load_file('{out}')",
    'onnx': "onnxruntime.InferenceSession('{out}').run(['vectors'], {{'images': images}})",
    'hub': "timm.create_model('local-dir:{out}', pretrained=True, num_classes=0)",
    'torch-export': "torch.export.load('{out}').module()(images)",
}
# Settings with which a library's own encoder computes the same.
NOTES = {
    ('mmdet', 'Swin'): 'with mmdet.SwinTransformer, leave convert_weights=False',
    ('mmseg', 'ViT'): "its ViT needs patch_bias=True, final_norm=True and norm_cfg=dict(type='LN', eps=1e-6)",
    ('timm', 'ViT'): 'for another image size timm interpolates with antialiasing, mmpretrain without',
}


def parse_args() -> argparse.Namespace:
    from repre_mm.cli.arguments import add_encoder_options

    parser = argparse.ArgumentParser(description='Write the encoder of a checkpoint for another library.')
    parser.add_argument(
        'encoder',
        nargs='+',
        metavar='ENCODER',
        help='any file of weights that tools/inspect_checkpoint.py knows, CONFIG CHECKPOINT, or timm:MODEL:FILE',
    )
    parser.add_argument('out', help='where to: NAME.pth, or NAME.safetensors')
    parser.add_argument('--to', required=True, choices=list(USE), help='the library that is to read it')
    parser.add_argument('--repo', metavar='USER/NAME', help='with --to hub: upload the folder there')
    parser.add_argument('--license', default='other', help='of the weights, for the model card (default: %(default)s)')
    add_encoder_options(parser)
    return parser.parse_intermixed_args()


def timm_model(meta: dict) -> str:
    """Name and options for timm; NAME where the size is none of timm's or the file no known release."""
    release = meta.get('release') or {}
    options = ''.join(f', {name}={value!r}' for name, value in release.get('options', {}).items())
    return repr(release.get('architecture') or 'NAME') + options


def mm_model(meta: dict, library: str) -> str:
    """The arguments of mmpretrain's ViT, as far as the file tells them."""
    if (meta['family'], library) != ('ViT', 'mmpretrain'):
        return '...'
    facts, heads = meta['architecture'], meta.get('num_heads', 'HEADS')
    sizes = ', '.join(f'{name}={facts[name]}' for name in ('embed_dims', 'num_layers', 'feedforward_channels'))
    img_size = math.isqrt(facts['positions'] - 1) * facts['patch_size']
    return (
        f"type='VisionTransformer', arch=dict({sizes}, num_heads={heads}), img_size={img_size}, "
        f'patch_size={facts["patch_size"]}'
    )


def show(meta: dict, args: argparse.Namespace) -> None:
    for name, value in meta.items():
        if value:
            print(f'{name:<14} {value}')
    prefix = f', prefix={meta["prefix"]!r}' if meta.get('prefix') else ''
    model = {} if 'family' not in meta else {'timm': timm_model(meta), 'model': mm_model(meta, args.to)}
    print(f'\n{args.out}: {Path(args.out).stat().st_size / 2**20:.1f} MiB. To use it:')
    print(f'  {USE[args.to].format(out=args.out, prefix=prefix, **model)}')


def main() -> None:
    from repre_mm.apis.encoder import export, load_encoder
    from repre_mm.apis.graphs import GRAPHS
    from repre_mm.apis.hub import push_to_hub, save_for_hub
    from repre_mm.checkpoint import export_encoder
    from repre_mm.evaluation.encoders import EncoderName
    from repre_mm.utils.errors import UserError

    args = parse_args()
    try:
        options = {name: getattr(args, name) for name in ('prefix', 'network', 'trust')}
        if args.to in GRAPHS:
            show(export(load_encoder(args.encoder, device='cpu', **options), args.out, args.to), args)
            return
        if args.to == 'hub':
            folder = Path(args.out)
            encoder = load_encoder(args.encoder, device='cpu', **options)
            save_for_hub(encoder, folder, name=args.repo or folder.name, license=args.license)
            print(f'{folder}: {", ".join(sorted(path.name for path in folder.iterdir()))}. To use it:')
            print(f'  {USE["hub"].format(out=folder)}')
            if args.repo:
                print(push_to_hub(folder, args.repo))
            return
        name = EncoderName.parse(args.encoder)
        path, network = name.file, name.network(**options)
        meta = export_encoder(path, args.out, args.to, trust=args.trust, prefix=network.prefix)
    except UserError as error:
        sys.exit(f'error: {error}')
    show(meta, args)
    if meta.get('left_out'):
        left_out = ', '.join(meta['left_out'])
        print(f'  {args.to} has no place for {left_out}: the last map is the same, the pooled vector is not')
    if note := NOTES.get((args.to, meta['family'])):
        print(f'  {note}')


if __name__ == '__main__':
    from repre_mm.cli.start import run_tool

    run_tool(main)
