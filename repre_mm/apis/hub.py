"""Encoders in timm's format for the Hugging Face Hub: weights, config and a model card in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from mmpretrain.models import SwinTransformer, VisionTransformer
from timm.models._hub import save_for_hf
from torch import nn

from repre_mm.checkpoint.layouts import convert, get_layout
from repre_mm.models.backbones import TimmBackbone
from repre_mm.models.taps import pooled
from repre_mm.utils.atomic import write_text
from repre_mm.utils.errors import UserError
from repre_mm.version import __version__

_CARD = """---
library_name: timm
tags: [self-supervised-learning, image-feature-extraction, repre]
license: {license}
---
# {name}

An encoder trained with repre_mm {version}: {network}. Input: {size} x {size} pixels, normalised as `config.json` says.
Output: a vector of {width} values.

```python
import timm

model = timm.create_model('hf-hub:USER/NAME', pretrained=True, num_classes=0)
```

{notes}"""


def save_for_hub(encoder: Any, folder: Path, *, name: str, license: str = 'other', notes: str = '') -> None:
    """Write ``model.safetensors``, ``config.json`` (timm's format) and ``README.md``.

    Args:
        encoder: A :class:`repre_mm.apis.encoder.Encoder`.
        folder: Is made where it is missing.
        name: Title of the card.
        license: Of the weights, by the Hub's short name.
        notes: Markdown for the card: data, epochs, scores.

    Raises:
        UserError: timm has no such model, or its vectors differ from the encoder's by more than 1e-4.
    """
    architecture, options = timm_equivalent(encoder.backbone, encoder.image_size)
    model = timm.create_model(architecture, num_classes=0, **options)
    model.load_state_dict(_timm_state(encoder.backbone))
    images = torch.randn(2, 3, encoder.image_size, encoder.image_size)
    with torch.no_grad():
        device = next(encoder.backbone.parameters()).device
        difference = float((model.eval()(images) - pooled(encoder.backbone(images.to(device))).cpu()).abs().max())
    if not difference < 1e-4:
        raise UserError(
            f"timm's {architecture} gives other vectors than the encoder, by {difference:.2g}: timm does not have its "
            'output (out_type); use --to safetensors'
        )
    folder.mkdir(parents=True, exist_ok=True)
    data = {key: encoder.pretrained_cfg[key] for key in ('input_size', 'mean', 'std', 'interpolation', 'crop_pct')}
    save_for_hf(model, folder, model_args=options, safe_serialization=True, data_config=data)
    facts = {'size': encoder.image_size, 'width': encoder.num_features, 'network': encoder.frozen.network}
    write_text(
        _CARD.format(name=name, license=license, notes=notes, version=__version__, **facts), folder / 'README.md'
    )


def push_to_hub(folder: Path, repo: str) -> str:
    """Upload a folder of :func:`save_for_hub`; the token is read where ``hf auth login`` or ``HF_TOKEN`` left it.

    Args:
        folder: Its files, and nothing else, are uploaded.
        repo: ``'USER/NAME'``.

    Returns:
        The address of the commit.

    Raises:
        UserError: The Hub refused, or cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repo, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            allow_patterns=['README.md', 'config.json', 'model.safetensors'],
            commit_message='Add the encoder',
        )
    except Exception as error:  # of its own, or of the HTTP library below, which changes between versions
        cause = str(error).strip().splitlines()[0]
        raise UserError(f'{repo} was not uploaded: {cause}. Log in by `hf auth login`, and check the name') from error
    return str(commit.commit_url)


def timm_equivalent(backbone: nn.Module, size: int) -> tuple[str, dict[str, Any]]:
    """timm's model of an encoder's shape.

    Returns:
        Its name and the options to build it with.

    Raises:
        UserError: timm has none.
    """
    if isinstance(backbone, TimmBackbone):
        return backbone.model_name, dict(backbone.options)
    if isinstance(backbone, VisionTransformer):
        layer = backbone.layers[0]
        options = {
            'img_size': size,
            'patch_size': backbone.patch_embed.projection.stride[0],
            'embed_dim': backbone.embed_dims,
            'depth': len(backbone.layers),
            'num_heads': layer.attn.num_heads,
            'mlp_ratio': layer.ffn.layers[0][0].out_features / backbone.embed_dims,
            'global_pool': 'token' if backbone.out_type == 'cls_token' else 'avg',
        }
        return 'vit_base_patch16_224', {**options, **({} if options['global_pool'] == 'token' else {'fc_norm': False})}
    if isinstance(backbone, SwinTransformer):
        blocks = [stage.blocks for stage in backbone.stages]
        return 'swin_tiny_patch4_window7_224', {
            'img_size': size,
            'patch_size': backbone.patch_embed.projection.stride[0],
            'embed_dim': backbone.num_features[0],
            'depths': [len(stage) for stage in blocks],
            'num_heads': [stage[0].attn.w_msa.num_heads for stage in blocks],
            'window_size': blocks[0][0].attn.window_size,
        }
    raise UserError(f'timm has no model like {type(backbone).__name__}: use --to safetensors')


def _timm_state(backbone: nn.Module) -> dict[str, torch.Tensor]:
    if isinstance(backbone, TimmBackbone):
        return backbone.model.state_dict()
    family = 'Swin' if isinstance(backbone, SwinTransformer) else 'ViT'
    target = get_layout(family, 'timm')
    state = convert(dict(backbone.state_dict()), get_layout(family, 'mmpretrain'), target)
    # Norms of other outputs than the last map's (ln2, norm0 to norm2) have no counterpart.
    return {name: value for name, value in state.items() if not name.startswith(('ln2.', 'norm0', 'norm1', 'norm2'))}
