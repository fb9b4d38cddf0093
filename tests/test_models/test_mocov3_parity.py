"""MoCo v3 with our head (models/selfsup/moco.py) and moving average against the authors' own code.

The numbers were printed by github.com/facebookresearch/moco-v3 at c349e6e24f40d3fedb22d973f92defa4cedf37a7: its
``MoCo_ViT`` (dim=16, mlp_dim=24, T=0.2) on its ``VisionTransformerMoCo``, with ``adjust_moco_momentum`` (moco_m=0.9,
2 epochs of 2 iterations), on the weights and views of ``fixtures/exact.py`` under the names used here, one process over
gloo, torch 2.11 on a CPU, timm 1.0.31; SGD with learning rate 0.05.
"""

import torch
from fixtures.exact import exact_views, fill_exactly, fingerprint
from mmpretrain.registry import MODELS

from repre_mm.engine.hooks.momentum import take_over_averages

LOSSES = [1.700637936592102, 1.5070817470550537, 2.4291162490844727, 1.3959221839904785]
# Of the target that each of the four forwards sees.
TARGETS = [-0.05201029523017212, -0.05187831995824115, -0.05190287388736226, -0.05193251383387543]
ONLINE = 0.04418381779892455
TENSORS = {
    'backbone.patch_embed.projection.weight': [-0.12666673958301544, 0.05743497610092163, 0.019726110622286797],
    'momentum_encoder.module.0.layers.1.attn.qkv.weight': [
        -0.176738440990448,
        0.25331562757492065,
        -0.22031743824481964,
    ],
    'head.predictor.fc1.weight': [0.18063145875930786, -0.1448339819908142, 0.31688791513442993],
}

MLP = dict(
    type='NonLinearNeck',
    hid_channels=24,
    out_channels=16,
    with_bias=False,
    with_last_bn=True,
    with_last_bn_affine=False,
    with_last_bias=False,
    with_avg_pool=False,
    norm_cfg=dict(type='BN1d'),
)


def test_four_steps_equal_the_authors():
    model = MODELS.build(
        dict(
            type='MoCoV3',
            base_momentum=0.1,
            backbone=dict(
                type='MoCoV3ViT',
                arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64),
                img_size=32,
                patch_size=8,
            ),
            neck=dict(MLP, in_channels=32, num_layers=3),
            head=dict(
                type='repre_mm.MoCoV3Head',
                predictor=dict(MLP, in_channels=16, num_layers=2),
                loss=dict(type='CrossEntropyLoss', loss_weight=0.4),
                temperature=0.2,
            ),
        )
    )
    model.init_weights()
    fill_exactly(model)  # the online network only: the first forward copies it into the target
    take_over_averages(model)
    model.momentum_encoder.max_steps = 4
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    losses, targets, kept = [], [], {}
    for step in range(4):
        loss = model.loss(exact_views(step, batch=6, size=32), None)['loss']
        parameters = dict(model.named_parameters())
        target = {name: p for name, p in parameters.items() if name.startswith('momentum_encoder')}
        targets.append(fingerprint(target))
        kept = {name: p.clone() for name, p in target.items()}
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.momentum_encoder.step()
        losses.append(loss.item())
    # Rounding grows with BatchNorm over six images: AVX512, AVX2 and neither differ by 1e-6, 5e-6, 3e-5 and 8e-4.
    for loss, expected, tolerance in zip(losses, LOSSES, (1e-5, 1e-5, 3e-5, 1e-3), strict=True):
        torch.testing.assert_close(loss, expected, rtol=tolerance, atol=0)
    torch.testing.assert_close(targets, TARGETS, rtol=1e-5, atol=1e-6)
    online = {name: p for name, p in parameters.items() if name not in target}
    torch.testing.assert_close(fingerprint(online), ONLINE, rtol=1e-5, atol=1e-5)
    for name, expected in TENSORS.items():
        tensor = kept.get(name, parameters[name]).detach().flatten()[:3]
        torch.testing.assert_close(tensor, torch.tensor(expected), rtol=1e-5, atol=3e-5, msg=name)
