"""DINO against its authors' code, its parts, its errors, and RePre on top of it."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from fixtures.models import MEAN, STD, make_views
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import autocast
from torch import nn

from repre_mm.engine import ClipGradPerParameterHook, DINOHook, MomentumUpdateHook
from repre_mm.models.selfsup.dino import DINO, DINOHead, DINONeck
from repre_mm.models.taps import pooled
from repre_mm.registry import MODELS

# facebookresearch/dino, commit 7c446df5b9f45747937fb0d72314eb9f7b66930a, run on a CPU with torch 2.11: its own
# main_dino.train_one_epoch, three epochs of two iterations, fp32, without the Tensor.cuda calls, in a gloo group of one
# process. Student and teacher: MultiCropWrapper(VisionTransformer(img_size=[32], patch_size=8, embed_dim=16, depth=2,
# num_heads=2, mlp_ratio=2, qkv_bias=False, norm_layer=LayerNorm(eps=1e-6)), DINOHead(16, 32, hidden_dim=24,
# bottleneck_dim=8)), the student's with norm_last_layer=False. DINOLoss(32, 4, 0.04, 0.07, 2, 3);
# AdamW(get_params_groups(student)); cosine_scheduler(2e-3, 1e-5), (0.04, 0.4) and (0.9, 1) for learning rate, weight
# decay and momentum; clip_grad=0.5 (it takes hold of 7 to 24 of the 35 parameters), freeze_last_layer=1. Batches of 3
# images, crops of 32, 32, 16 and 16 pixels. Weights and crops: `numbers` and `start` below.
# The position embedding is frozen and the same everywhere: the authors stretch it by (4 + 0.1) / 4 for a crop of 4
# patches, mmpretrain by 4 / 4.
LOSSES = [0.8465569, 2.0881531, 1.4714161, 1.6545143, 1.8933665, 1.6393714]
CENTER_FIRST = (0.0453724, -0.001923, 0.0482689, -0.0130625, 0.1631495)  # outputs 0 to 3, and the checksum of all
CENTER_LAST = (0.1894173, -0.0381295, 0.1959187, -0.0941577, 0.8822238)
# Checksums of student and teacher after iteration 1, and after iteration 6.
PARAMETERS = {
    'backbone.cls_token': (-0.065511, -0.068343, -0.062372, -0.067405),
    'backbone.pos_embed': (1.171593, 1.171593, 1.171593, 1.171593),
    'backbone.patch_embed.proj.weight': (3.387532, 3.312578, 3.361230, 3.329064),
    'backbone.patch_embed.proj.bias': (0.004663, 0.004132, 0.011221, 0.005395),
    'backbone.blocks.0.norm1.weight': (0.597920, 0.598841, 0.593435, 0.597855),
    'backbone.blocks.0.norm1.bias': (-0.392593, -0.399724, -0.383011, -0.396321),
    'backbone.blocks.0.attn.qkv.weight': (-0.498640, -0.487435, -0.497269, -0.489839),
    'backbone.blocks.0.attn.proj.weight': (2.210721, 2.205477, 2.231302, 2.209759),
    'backbone.blocks.0.attn.proj.bias': (0.481080, 0.487575, 0.489046, 0.487324),
    'backbone.blocks.0.norm2.weight': (0.642653, 0.634646, 0.652458, 0.638059),
    'backbone.blocks.0.norm2.bias': (0.301928, 0.307061, 0.308528, 0.306829),
    'backbone.blocks.0.mlp.fc1.weight': (5.290549, 5.314230, 5.231513, 5.299897),
    'backbone.blocks.0.mlp.fc1.bias': (-0.723336, -0.716987, -0.721224, -0.718295),
    'backbone.blocks.0.mlp.fc2.weight': (4.456533, 4.462038, 4.394976, 4.452411),
    'backbone.blocks.0.mlp.fc2.bias': (0.271640, 0.276637, 0.278744, 0.276602),
    'backbone.blocks.1.norm1.weight': (1.043712, 1.043337, 1.027576, 1.040822),
    'backbone.blocks.1.norm1.bias': (-0.010007, -0.007743, -0.005489, -0.007743),
    'backbone.blocks.1.attn.qkv.weight': (6.351349, 6.348088, 6.395283, 6.354315),
    'backbone.blocks.1.attn.proj.weight': (3.292227, 3.325891, 3.254397, 3.311736),
    'backbone.blocks.1.attn.proj.bias': (0.495438, 0.488035, 0.510582, 0.492243),
    'backbone.blocks.1.norm2.weight': (0.920551, 0.920040, 0.935426, 0.922138),
    'backbone.blocks.1.norm2.bias': (0.298228, 0.296381, 0.291753, 0.295990),
    'backbone.blocks.1.mlp.fc1.weight': (-5.404778, -5.417499, -5.318419, -5.403038),
    'backbone.blocks.1.mlp.fc1.bias': (0.095969, 0.088664, 0.110904, 0.092790),
    'backbone.blocks.1.mlp.fc2.weight': (-3.917347, -3.906860, -3.979347, -3.919137),
    'backbone.blocks.1.mlp.fc2.bias': (-0.680463, -0.687866, -0.666534, -0.683931),
    'backbone.norm.weight': (0.652356, 0.654794, 0.649305, 0.653424),
    'backbone.norm.bias': (-0.310051, -0.317454, -0.294361, -0.313148),
    'head.mlp.0.weight': (-1.628086, -1.667049, -1.619991, -1.655606),
    'head.mlp.0.bias': (0.738296, 0.731223, 0.736454, 0.733222),
    'head.mlp.2.weight': (2.559620, 2.537284, 2.582635, 2.546807),
    'head.mlp.2.bias': (0.438936, 0.435154, 0.448774, 0.437684),
    'head.mlp.4.weight': (-4.618913, -4.621306, -4.607300, -4.619315),
    'head.mlp.4.bias': (0.374279, 0.367659, 0.380285, 0.370460),
    'head.last_layer.weight_g': (0.587578, 0.587578, 0.588044, 0.587315),
    'head.last_layer.weight_v': (-8.160595, -8.160595, -8.137511, -8.157941),
}
KEYS = [  # theirs, ours
    ('backbone.patch_embed.proj.', 'backbone.patch_embed.projection.'),
    ('backbone.blocks.', 'backbone.layers.'),
    ('.norm1.', '.ln1.'),
    ('.norm2.', '.ln2.'),
    ('.mlp.fc1.', '.ffn.layers.0.0.'),
    ('.mlp.fc2.', '.ffn.layers.1.'),
    ('backbone.norm.', 'backbone.ln1.'),
    ('head.', 'neck.'),
    ('.weight_g', '.parametrizations.weight.original0'),
    ('.weight_v', '.parametrizations.weight.original1'),
]
MEANS = dict(mean=MEAN, std=STD)
VIT = dict(
    type='VisionTransformer',
    arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32),
    img_size=32,
    patch_size=8,
)
SWIN = dict(
    type='SwinTransformer',
    arch=dict(embed_dims=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2]),
    img_size=64,
    window_size=4,
    out_indices=(3,),
    drop_path_rate=0.0,
    pad_small_map=True,
)
ENCODERS = {'vit': (VIT, 16, (32, 16)), 'swin': (SWIN, 128, (64, 32))}  # config, channels, (global, local) size


def dino(encoder: str = 'vit', head: dict | None = None, **backbone) -> dict:
    """A tiny DINO."""
    cfg, channels, _ = ENCODERS[encoder]
    return dict(
        type='repre_mm.DINO',
        backbone={**copy.deepcopy(cfg), **backbone},
        neck=dict(in_channels=channels, hid_channels=24, bottleneck_channels=8, out_channels=32),
        head=head,
        data_preprocessor=dict(**MEANS),
    )


def build(cfg: dict) -> nn.Module:
    model = ROOT_MODELS.build(cfg)
    model.init_weights()
    return model


def crops(encoder: str = 'vit', local: int = 2, batch: int = 3) -> list[torch.Tensor]:
    large, small = ENCODERS[encoder][2]
    return make_views(large, batch) + make_views(small, batch, views=local)


def numbers(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Pseudo-random numbers in [-1, 1) from integer arithmetic, the same with every version of every library."""
    x = (torch.arange(torch.Size(shape).numel()) + 100_003 * seed + 1) * 2654435761 % 2**32
    x = (x ^ (x >> 16)) * 73244475 % 2**32
    x = x ^ (x >> 16)
    return (x.double() / 2**31 - 1).float().reshape(shape)


def start(name: str, seed: int, shape: torch.Size) -> torch.Tensor:
    """The first value of a parameter of the authors' model, from its name and place."""
    values = numbers(shape, seed)
    if name.endswith('weight_g'):
        return torch.ones(shape)
    if name.endswith('pos_embed'):
        return 0.5 * values[:, :1].expand(shape)
    if len(shape) == 1:
        return 0.2 * values + ('norm' in name and name.endswith('weight'))
    return values * 2 / values[0].numel() ** 0.5


def checksum(values: torch.Tensor) -> float:
    """A sum that notices every change of a value and of the order."""
    values = values.detach().double().flatten()
    return (values * torch.cos(torch.arange(len(values)).double())).sum().item()


def test_six_iterations_agree_with_the_authors():
    """Loss, centre, schedules, clipping, frozen layer, AdamW and teacher, with the hooks of a real run."""
    cfg = dino('vit', dict(teacher_temp=0.07, warmup_teacher_temp_epochs=2), qkv_bias=False)
    cfg['neck']['norm_last_layer'] = False
    model = build({**cfg, 'base_momentum': 0.1})

    names = {}
    for theirs in PARAMETERS:
        ours = theirs
        for old, new in KEYS:
            ours = ours.replace(old, new)
        names[theirs] = ours
    assert sorted(names.values()) == sorted(n for n, _ in model.named_parameters() if not n.startswith('momentum'))
    with torch.no_grad():
        for seed, (theirs, ours) in enumerate(names.items()):
            parameter = model.get_parameter(ours)
            parameter.copy_(start(theirs, seed, parameter.shape))
    model.backbone.pos_embed.requires_grad = False

    paramwise = dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0)
    optimizer = dict(type='AdamW', lr=2e-3, weight_decay=0.04)
    optim_wrapper = build_optim_wrapper(model, dict(optimizer=optimizer, paramwise_cfg=paramwise))
    schedule = dict(by_epoch=True, begin=0, end=3, convert_to_iter_based=True)
    schedulers = [
        PARAM_SCHEDULERS.build(cfg, default_args=dict(optimizer=optim_wrapper, epoch_length=2))
        for cfg in (
            dict(type='CosineAnnealingLR', eta_min=1e-5, **schedule),
            dict(type='mmpretrain.CosineAnnealingWeightDecay', eta_min=0.4, **schedule),
        )
    ]
    runner = SimpleNamespace(model=model, optim_wrapper=optim_wrapper, max_iters=6, iter=0, epoch=0)
    hooks = [MomentumUpdateHook(), DINOHook(freeze_last_layer=1), ClipGradPerParameterHook(max_norm=0.5)]
    for hook in hooks:
        hook.before_train(runner)

    def check(column: int) -> None:
        for theirs, ours in names.items():
            student = checksum(model.get_parameter(ours))
            teacher = ours.replace('backbone.', '0.', 1).replace('neck.', '1.', 1)
            teacher = checksum(model.momentum_encoder.module.get_parameter(teacher))
            expected = PARAMETERS[theirs][column : column + 2]
            assert (student, teacher) == pytest.approx(expected, abs=1e-5, rel=0), f'{theirs} ({column})'

    def check_center(expected: tuple) -> None:
        center = model.head.center
        assert (*center[0, :4].tolist(), checksum(center)) == pytest.approx(expected, abs=1e-6, rel=0)

    for iteration, loss in enumerate(LOSSES):
        runner.iter, runner.epoch = iteration, iteration // 2
        for hook in hooks:
            hook.before_train_iter(runner, iteration)
        seed = 1000 + 10 * iteration
        views = [numbers((3, 3, size, size), seed + v) for v, size in enumerate((32, 32, 16, 16))]
        ours = model.loss(views)['loss']
        assert ours.item() == pytest.approx(loss, abs=1e-5)
        optim_wrapper.update_params(ours)
        for hook in hooks:
            hook.after_train_iter(runner, iteration, None, None)
        for scheduler in schedulers:
            scheduler.step()
        if iteration == 0:
            check(0)
            check_center(CENTER_FIRST)
    check(2)
    check_center(CENTER_LAST)


@pytest.mark.parametrize('local', [0, 3])
def test_loss_is_the_mean_over_pairs_of_different_crops(local):
    """Algorithm 1, pair by pair."""
    head = DINOHead(16, student_temp=0.2, teacher_temp=0.05)
    head.center.normal_()
    student, teacher = torch.randn(2 + local, 3, 16), torch.randn(2, 3, 16)
    pairs = []
    for t in range(2):
        for s in range(2 + local):
            if s != t:
                q = torch.softmax((teacher[t] - head.center) / 0.05, dim=1)
                pairs.append(F.cross_entropy(student[s] / 0.2, q))
    center = 0.9 * head.center + 0.1 * teacher.flatten(0, 1).mean(0)
    loss = head.loss(student.flatten(0, 1), teacher.flatten(0, 1), epoch=0)
    torch.testing.assert_close(loss, torch.stack(pairs).mean())
    torch.testing.assert_close(head.center, center)
    center = head.center.clone()
    head.eval().loss(student.flatten(0, 1), teacher.flatten(0, 1), epoch=0)
    assert torch.equal(head.center, center)


def test_centre_takes_in_the_mean_of_all_processes(monkeypatch):
    """Two processes' halves move the centre as the joined batch does."""
    teacher, student = torch.randn(8, 16), torch.randn(8, 16)
    joined, ours = DINOHead(16), DINOHead(16)
    joined.loss(student, teacher, epoch=0)

    def all_reduce(data, op):
        assert op == 'mean'
        data.copy_((data + teacher[4:].mean(0)) / 2)

    monkeypatch.setattr('repre_mm.models.selfsup.dino.all_reduce', all_reduce)
    ours.loss(student[:4], teacher[:4], epoch=0)
    torch.testing.assert_close(ours.center, joined.center)


def test_loss_is_computed_in_fp32_under_autocast():
    model = build(dino())
    seen = []
    original = model.head.loss
    model.head.loss = lambda *args: seen.append(args) or original(*args)
    model.head.eval()
    with autocast(device_type='cpu', dtype=torch.bfloat16):
        loss = model.loss(crops())['loss']
    student, teacher, _ = seen[0]
    assert student.dtype == teacher.dtype == torch.float32
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, original(student, teacher, 0), rtol=0, atol=0)


@pytest.mark.parametrize('encoder', ENCODERS)
def test_who_sees_what(encoder):
    """The teacher: the global crops, at once. The student: one batch per size, and one for the neck."""
    model = build(dino(encoder))
    large, small = ENCODERS[encoder][2]
    seen = {'student': [], 'teacher': [], 'neck': []}
    model.backbone.register_forward_hook(lambda _, args, out: seen['student'].append(args[0].shape))
    model.neck.register_forward_hook(lambda _, args, out: seen['neck'].append(args[0][0].shape))
    teacher = model.momentum_encoder.module[0]
    teacher.register_forward_hook(lambda _, args, out: seen['teacher'].append(args[0].shape))
    views = crops(encoder, local=3, batch=2)
    model.loss(views)['loss'].backward()
    assert seen['student'] == [(4, 3, large, large), (6, 3, small, small)]
    assert seen['neck'] == [(10, ENCODERS[encoder][1])]
    assert seen['teacher'] == [(4, 3, large, large)]
    assert all(p.grad is None for p in model.momentum_encoder.parameters())
    assert all(p.grad is not None for p in model.backbone.parameters())


@pytest.mark.parametrize('encoder', ENCODERS)
def test_loss_equals_that_of_a_forward_for_each_crop(encoder):
    """And its gradients: crops of one size in one batch change nothing but the speed."""
    model = build(dino(encoder))
    model.head.eval()  # the centre stays
    views = crops(encoder, local=3)
    packed = model.loss(views)['loss']
    student = torch.cat([model.neck((pooled(model.backbone(crop)),))[0] for crop in views])
    with torch.no_grad():
        teacher = torch.cat([model.momentum_encoder(crop)[0] for crop in views[:2]])
    single = model.head.loss(student, teacher, 0)
    torch.testing.assert_close(packed, single, rtol=0, atol=1e-6)
    parameters = [p for p in (*model.backbone.parameters(), *model.neck.parameters()) if p.requires_grad]
    for one, other in zip(*(torch.autograd.grad(loss, parameters) for loss in (packed, single)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('encoder', ENCODERS)
def test_teacher_starts_as_the_student_and_never_drops_paths(encoder):
    model = build(dino(encoder, drop_path_rate=0.5)).train()
    teacher = model.momentum_encoder.module
    student = nn.Sequential(model.backbone, model.neck)
    for (name, ours), theirs in zip(student.state_dict().items(), teacher.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name
    views = crops(encoder)[0]
    assert teacher.training and teacher[0].training
    assert torch.equal(teacher(views)[0], teacher(views)[0])
    assert not torch.equal(student(views)[0], student(views)[0])


def test_teacher_follows_with_the_momentum_of_the_iteration():
    model = build({**dino(), 'base_momentum': 0.2})
    ema = model.momentum_encoder
    ema.max_steps, model.epoch = 4, 0
    assert [ema.momentum_at(k) for k in (1, 3)] == pytest.approx([0.2, 0.1])  # the first update, the third
    model.loss(crops())
    old = model.backbone.cls_token.clone()
    with torch.no_grad():
        model.backbone.cls_token.add_(1)
    ema.step()
    torch.testing.assert_close(ema.module[0].cls_token, old + 0.2)


@pytest.mark.parametrize('fixed', [True, False])
def test_last_layer_keeps_its_lengths_or_learns_them(fixed):
    neck = DINONeck(16, 24, 8, 32, norm_last_layer=fixed)
    optimizer = torch.optim.SGD([p for p in neck.parameters() if p.requires_grad], lr=10.0)
    neck((torch.randn(4, 16),))[0].square().sum().backward()
    optimizer.step()
    lengths = neck.last_layer.weight.norm(dim=1)
    assert torch.allclose(lengths, torch.ones(32), atol=1e-6) == fixed


def test_head_of_the_authors_checkpoints_is_read():
    """Their weight_g and weight_v are found by torch's weight_norm."""
    neck = DINONeck(16, 24, 8, 32)
    state = {key: value for key, value in neck.state_dict().items() if key.startswith('mlp')}
    direction, length = torch.randn(32, 8), torch.rand(32, 1)
    state |= {'last_layer.weight_g': length, 'last_layer.weight_v': direction}
    neck.load_state_dict(state)
    torch.testing.assert_close(neck.last_layer.weight, F.normalize(direction, dim=1) * length)


def test_local_crops_of_96_pixels_train_the_position_embedding():
    """14 x 14 positions, bicubic, to 6 x 6; with the gradient of torch's interpolation."""
    model = build(dino(img_size=224, patch_size=16))
    embedding = model.backbone.pos_embed
    seen = []
    model.backbone.layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    local = torch.zeros(1, 3, 96, 96)
    with torch.no_grad():
        model.backbone.patch_embed.projection.bias.zero_()
    model.backbone(local)
    positions = embedding[:, 1:].unflatten(1, (14, 14)).permute(0, 3, 1, 2)
    expected = F.interpolate(positions, size=(6, 6), mode='bicubic').flatten(2).transpose(1, 2)
    torch.testing.assert_close(seen[0][:, 1:], expected)
    weights = torch.randn_like(expected)
    (ours,) = torch.autograd.grad((seen[0][:, 1:] * weights).sum(), embedding)
    (theirs,) = torch.autograd.grad((expected * weights).sum(), embedding)
    torch.testing.assert_close(ours, theirs)
    assert ours[:, 1:].norm() > 0
    views = [torch.randn(1, 3, size, size) for size in (224, 224, 96)]
    assert model.loss(views)['loss'].isfinite()


def test_timm_backbone():
    cfg = dino()
    cfg['backbone'] = dict(type='repre_mm.TimmBackbone', model_name='test_vit', dynamic_img_size=True)
    cfg['neck']['in_channels'] = 64
    model = build(cfg)
    views = make_views(160, 1) + make_views(96, 1, views=1)
    model.loss(views)['loss'].backward()
    assert all(p.grad is not None for p in model.backbone.parameters() if p.requires_grad)


def test_preprocessor_takes_crops_of_different_sizes():
    model = build({**dino(), 'data_preprocessor': dict(**MEANS, to_rgb=True)})
    views = [torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8) for size in (32, 32, 16)]
    inputs = model.data_preprocessor(dict(inputs=views, data_samples=None), training=True)['inputs']
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    for ours, view in zip(inputs, views, strict=True):
        torch.testing.assert_close(ours, (view.flip(1).float() - mean) / std)


@pytest.mark.parametrize(
    ('sizes', 'message'),
    [
        ([(32, 32)], r'at least two views .* got one: set num_views=\[1, 1\]'),
        ([(32, 32), (16, 16), (32, 32)], '32 x 32 and 16 x 16 pixels: give both one size'),
    ],
)
def test_unfit_crops_are_named(sizes, message):
    model = build(dino())
    with pytest.raises(ValueError, match=message):
        model.loss([torch.randn(2, 3, *size) for size in sizes])


def test_other_mistakes_are_named():
    with pytest.raises(ValueError, match='needs at least two views'):
        build(dino()).loss(torch.randn(2, 3, 32, 32))
    with pytest.raises(ValueError, match=r"returned \[2, 17, 16\] where .*set out_type='cls_token'"):
        build(dino(out_type='raw')).loss([torch.randn(1, 3, 32, 32)] * 2)


def test_training_without_the_hooks_is_refused():
    model = build(dino())
    model.loss(crops())['loss'].backward()
    with pytest.raises(RuntimeError, match='MomentumUpdateHook'):
        torch.optim.SGD(model.backbone.parameters(), lr=0.1).step()
    model = build(dino())
    model.momentum_encoder.max_steps = 10
    with pytest.raises(RuntimeError, match=r"add dict\(type='repre_mm.DINOHook'\)"):
        model.loss(crops())


def with_repre(encoder: str, algorithm: dict | None = None, **weighting) -> dict:
    weighting = weighting or dict(contrast=1.0, recon=0.0)
    return dict(
        type='repre_mm.RePreAlgorithm',
        algorithm=algorithm or dino(encoder),
        neck=dict(num_levels=2),
        loss_weighting=dict(type='FixedWeighting', **weighting),
    )


@pytest.mark.parametrize('encoder', ENCODERS)
def test_repre_reads_the_first_global_crop_of_the_students_own_pass(encoder):
    """Only the first B rows of the batch of global crops carry reconstruction, and no pass is added."""
    model = build(with_repre(encoder, contrast=0.0, recon=1.0))
    gradients, calls = {}, []

    def keep(module, args, output):
        size = args[0].shape[-1]
        calls.append(size)
        output[0].register_hook(lambda gradient: gradients.__setitem__(size, gradient))

    model.backbone.patch_embed.register_forward_hook(keep)
    views = crops(encoder)
    out = model(views, None, mode='loss')
    out['loss'].backward()
    large, small = ENCODERS[encoder][2]
    assert calls == [large, small]
    assert gradients[small].abs().max() == 0
    assert gradients[large][3:].abs().max() == 0
    assert gradients[large][:3].flatten(1).norm(dim=1).min() > 0
    # The levels are those of view 1: decode a fresh pass over view 1 alone.
    image = model.repre_decoder(model.repre_neck(fresh_levels(model, views[0])))
    torch.testing.assert_close(out['recon_l1'], (image - model.pixels(views[0])).abs().mean().detach())


def fresh_levels(model: nn.Module, view: torch.Tensor) -> list[torch.Tensor]:
    with model.tap.open(model.backbone, model.repre_neck.indices, view) as levels:
        model.backbone(view)
    return [levels[index] for index in model.repre_neck.indices]


@pytest.mark.parametrize('encoder', ENCODERS)
def test_reconstruction_weight_zero_is_bit_identical_to_plain(encoder):
    batches = [crops(encoder) for _ in range(3)]

    def train(cfg: dict) -> tuple[list, dict]:
        torch.manual_seed(3)
        model = build(cfg)
        algorithm = getattr(model, 'algorithm', model)
        algorithm.epoch, algorithm.momentum_encoder.max_steps = 0, 10
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        losses = []
        for views in batches:
            loss, _ = model.parse_losses(model(views, None, mode='loss'))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            algorithm.momentum_encoder.step()
            losses.append(loss.item())
        return losses, model.state_dict()

    algorithm = dino(encoder, drop_path_rate=0.3)
    plain_losses, plain = train(algorithm)
    losses, state = train(with_repre(encoder, copy.deepcopy(algorithm)))
    assert losses == plain_losses
    assert len(set(losses)) == len(losses)
    for key, value in plain.items():
        assert torch.equal(state[key], value), key
    assert {key.split('.')[0] for key in set(state) - set(plain)} == {'repre_neck', 'repre_decoder'}


def test_repre_on_dino_can_be_copied_and_reloaded():
    model = build(with_repre('vit'))
    model(crops(), None, mode='loss')
    twin = copy.deepcopy(model)
    other = build(with_repre('vit'))
    assert other.load_state_dict(twin.state_dict()).missing_keys == []
    for key, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key
    assert isinstance(twin.algorithm, DINO)
    assert MODELS.get('DINO') is DINO
