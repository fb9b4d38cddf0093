"""MoBY against the authors' own code, its queues, and RePre on top of it."""

import copy

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from fixtures.exact import exact, exact_views, fill_exactly, fingerprint
from fixtures.models import ENCODERS, MEAN, STD, make_views, mlp
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn

from repre_mm.registry import MODELS

# The authors' MLP: biases everywhere, no norm at the end.
PLAIN = dict(with_bias=True, with_last_bn=False, with_last_bias=True)


def moby(encoder: str = 'vit', **kwargs) -> dict:
    """A tiny MoBY."""
    backbone, _ = ENCODERS[encoder]
    swin = encoder == 'swin'
    return {
        'type': 'repre_mm.MoBY',
        'backbone': copy.deepcopy(backbone),
        'neck': mlp(128 if swin else 32, 2, with_avg_pool=swin, **PLAIN),
        'predictor': mlp(16, 2, with_avg_pool=False, **PLAIN),
        'queue_len': 12,
        'feat_dim': 16,
        'data_preprocessor': dict(mean=MEAN, std=STD),
        **kwargs,
    }


def build(cfg: dict) -> nn.Module:
    model = MODELS.build(cfg)
    model.init_weights()
    return model


# Printed by github.com/SwinTransformer/Transformer-SSL at 4510de1f21ee6f9810a74494c254081dd8f2c383: its ``MoBY`` on its
# ``SwinTransformer``, with hidden layers of 24, a queue of 18, momentum 0.9 over K = 4, SyncBN as BatchNorm; weights,
# queues and views of ``fixtures/exact.py`` under the names used here (channels of patch merging permuted from theirs to
# ours), one process, torch 2.11 on a CPU, timm 1.0.31; SGD with learning rate 0.05. After each of four steps, but the
# targets: of the one that each forward sees.
LOSSES = [5.960357666015625, 5.801747798919678, 5.95684814453125, 5.98123025894165]
TARGETS = [-0.013982086627494214, -0.013917962627255375, -0.013887389135022923, -0.013880515805381043]
QUEUE_1 = [0.0021868540593878234, -0.000428726416051967, -0.003888406905076887, -0.005290771156985211]
QUEUE_2 = [-0.0055038460607178515, 0.0036891252598942647, -0.0007834505675688433, 0.001085600173895762]
ONLINE = 0.03740223664516138
TENSORS = {
    'backbone.patch_embed.projection.weight': [-0.2330372929573059, 0.13726988434791565, 0.06989674270153046],
    'momentum_encoder.module.0.stages.1.blocks.0.attn.w_msa.qkv.weight': [
        0.030509009957313538,
        -0.09093932062387466,
        0.10192215442657471,
    ],
    'predictor.fc1.weight': [0.0739038959145546, -0.25521621108055115, -0.06745319813489914],
}


def test_four_steps_equal_the_authors():
    heads = dict(type='NonLinearNeck', hid_channels=24, out_channels=256, norm_cfg=dict(type='BN1d'), **PLAIN)
    model = MODELS.build(
        dict(
            type='repre_mm.MoBY',
            backbone=dict(
                type='SwinTransformer',
                arch=dict(embed_dims=16, depths=[2, 2], num_heads=[1, 2]),
                img_size=32,
                window_size=4,
                out_indices=(1,),
                drop_path_rate=0.0,
            ),
            neck=dict(heads, in_channels=32),
            predictor=dict(heads, in_channels=256, with_avg_pool=False),
            queue_len=18,
            base_momentum=0.1,
        )
    )
    fill_exactly(model)  # the online network only: the first forward copies it into the target
    for name in ('queue1', 'queue2'):
        getattr(model, name).copy_(F.normalize(exact(name, (256, 18)), dim=0))
    model.momentum_encoder.max_steps = 4
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    losses, targets, queue_1, queue_2, kept = [], [], [], [], {}
    for step in range(4):
        loss = model.loss(exact_views(step, batch=6, size=32))['loss']
        parameters = dict(model.named_parameters())
        target = {name: p for name, p in parameters.items() if name.startswith('momentum_encoder')}
        targets.append(fingerprint(target))
        kept = {name: p.clone() for name, p in target.items()}
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.momentum_encoder.step()
        losses.append(loss.item())
        queue_1.append(fingerprint({'queue1': model.queue1}))
        queue_2.append(fingerprint({'queue2': model.queue2}))
    torch.testing.assert_close(losses, LOSSES, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(targets, TARGETS, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(queue_1, QUEUE_1, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(queue_2, QUEUE_2, rtol=1e-5, atol=1e-6)
    assert model.queue_ptr.tolist() == [6]
    online = {name: p for name, p in parameters.items() if name not in target}
    torch.testing.assert_close(fingerprint(online), ONLINE, rtol=1e-5, atol=1e-6)
    for name, expected in TENSORS.items():
        tensor = kept.get(name, parameters[name]).detach().flatten()[:3]
        torch.testing.assert_close(tensor, torch.tensor(expected), rtol=1e-5, atol=1e-5, msg=name)


def test_target_drops_no_paths_and_the_online_encoder_does():
    cfg = moby()
    cfg['backbone']['drop_path_rate'] = 0.9
    model = build(cfg).train()
    view = make_views(32)[0]
    assert model.momentum_encoder.module[0].training
    assert torch.equal(model.momentum_encoder.module[0](view)[0], model.momentum_encoder.module[0](view)[0])
    assert not torch.equal(model.backbone(view)[0], model.backbone(view)[0])


def test_queue_is_a_ring_for_batches_that_do_not_divide_it():
    """12 places, batches of 5: the third wraps, and each place holds the newest key that fell on it."""
    model = build(moby())
    model.momentum_encoder.max_steps = 9
    expected = [model.queue1.clone(), model.queue2.clone()]
    place = 0
    for batch in (5, 5, 5, 2):  # a partial batch at the end
        views = make_views(32, batch)
        model.loss(views)
        for queue, view in zip(expected, views, strict=True):
            keys = F.normalize(model.momentum_encoder(view)[0], dim=1)
            for i, key in enumerate(keys):
                queue[:, (place + i) % 12] = key
        place = (place + batch) % 12
        torch.testing.assert_close(model.queue1, expected[0])
        torch.testing.assert_close(model.queue2, expected[1])
        assert model.queue_ptr.item() == place


def enqueue_on(rank: int, init_file: str, results: mp.Queue) -> None:
    dist.init_process_group('gloo', init_method=f'file://{init_file}', rank=rank, world_size=2)
    torch.manual_seed(0)
    model = MODELS.build(moby())
    for step in range(2):  # two batches of 2 x 4 keys into 12 places
        keys = torch.full((4, 16), float(10 * step + rank))
        model._enqueue(keys, -keys)
    message = ''
    try:
        model.loss(make_views(32, 7))
    except ValueError as error:
        message = str(error)
    results.put((rank, model.queue1[0].tolist(), model.queue2[0].tolist(), model.queue_ptr.item(), message))
    dist.destroy_process_group()


@pytest.mark.dist
def test_queues_hold_the_keys_of_all_processes_in_rank_order(tmp_path):
    context = mp.get_context('fork')
    results = context.Queue()
    processes = [context.Process(target=enqueue_on, args=(r, str(tmp_path / 'init'), results)) for r in range(2)]
    for process in processes:
        process.start()
    reports = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(timeout=60)
    expected = [11.0] * 4 + [1.0] * 4 + [10.0] * 4
    for _, queue_1, queue_2, place, message in reports:
        assert queue_1 == expected
        assert queue_2 == [-value for value in expected]
        assert place == 4
        assert 'queue_len=12 is smaller than the batch of 14 images over all processes' in message


def test_under_bf16_the_loss_and_the_queues_stay_fp32():
    model = build(moby())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = model.loss(make_views(32))['loss']
    loss.backward()
    assert loss.dtype == model.queue1.dtype == torch.float32
    torch.testing.assert_close(model.queue1.norm(dim=0), torch.ones(12))
    assert model.backbone.layers[0].attn.qkv.weight.grad.norm() > 0


def test_state_dict_round_trip_goes_on_alike():
    model, other = build(moby()), build(moby())
    model.loss(make_views(32))
    state = model.state_dict()
    assert {'queue1', 'queue2', 'queue_ptr', 'momentum_encoder.steps'} <= set(state)
    other.load_state_dict(state)
    views = make_views(32)
    other.momentum_encoder.max_steps = model.momentum_encoder.max_steps = 5
    assert torch.equal(model.loss(views)['loss'], other.loss(views)['loss'])
    assert torch.equal(model.queue1, other.queue1)


# RePre on top.


def repre(encoder: str, **kwargs) -> nn.Module:
    return build(dict(type='repre_mm.RePreAlgorithm', algorithm=moby(encoder), **kwargs))


def test_no_extra_encoder_pass(encoder_name):
    model = repre(encoder_name)
    counts = {'online': 0, 'target': 0}

    def count(name):
        def hook(*_):
            counts[name] += 1

        return hook

    model.backbone.register_forward_hook(count('online'))
    model.algorithm.momentum_encoder.module[0].register_forward_hook(count('target'))
    model(make_views(ENCODERS[encoder_name][1]), None, mode='loss')
    assert counts == {'online': 2, 'target': 2}


def test_reconstruction_gradient_goes_through_the_forward_that_made_q1(encoder_name):
    weighting = dict(type='FixedWeighting', contrast=0.0, recon=1.0)
    model = repre(encoder_name, loss_weighting=weighting)
    gradients = {}

    def keep_gradient(module, args, output):
        if torch.is_grad_enabled():
            index = len(gradients)
            gradients[index] = None
            output[0].register_hook(lambda gradient: gradients.update({index: gradient}))

    model.backbone.patch_embed.register_forward_hook(keep_gradient)
    model(make_views(ENCODERS[encoder_name][1]), None, mode='loss')['loss'].backward()
    assert set(gradients) == {0, 1}
    assert gradients[0].norm() > 0
    assert gradients[1].norm() == 0


def train(cfg: dict, batches: list) -> tuple[list, nn.Module]:
    torch.manual_seed(3)
    model = ROOT_MODELS.build(cfg)
    model.init_weights()
    target = getattr(model, 'algorithm', model).momentum_encoder
    target.max_steps = len(batches)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    losses = []
    for views in batches:
        loss, _ = model.parse_losses(model(views, None, mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        target.step()
        losses.append(loss.detach())
    return losses, model


def test_weight_zero_is_bit_identical_to_plain_moby(encoder_name):
    cfg = moby(encoder_name)
    cfg['backbone']['drop_path_rate'] = 0.3  # draws random numbers in every step
    batches = [make_views(ENCODERS[encoder_name][1]) for _ in range(3)]
    with_scope = copy.deepcopy(cfg)
    for part in ('backbone', 'neck', 'predictor'):
        with_scope[part]['type'] = 'mmpretrain.' + with_scope[part]['type']
    weighting = dict(type='FixedWeighting', contrast=1.0, recon=0.0)
    plain_losses, plain = train(with_scope, batches)
    losses, wrapped = train(dict(type='repre_mm.RePreAlgorithm', algorithm=cfg, loss_weighting=weighting), batches)
    assert len({loss.item() for loss in losses}) == len(losses)
    for ours, theirs in zip(losses, plain_losses, strict=True):
        assert torch.equal(ours, theirs)
    state = wrapped.state_dict()
    for key, value in plain.state_dict().items():
        assert torch.equal(state[key], value), key
    added = {key.split('.')[0] for key in set(state) - set(plain.state_dict())}
    assert added == {'repre_neck', 'repre_decoder'}


def test_nothing_stays_behind_after_a_step():
    model = repre('vit')
    keys = set(model.state_dict())
    out = model(make_views(32), None, mode='loss')
    twin = copy.deepcopy(model)  # would fail with a graph tensor inside
    assert set(model.state_dict()) == keys
    assert all(not m._forward_hooks for m in model.modules())
    # The copy's target follows the copy, not the original.
    twin.algorithm.momentum_encoder.max_steps = 2
    with torch.no_grad():
        twin.backbone.cls_token.add_(1)
    twin.algorithm.momentum_encoder.step()
    moved = twin.algorithm.momentum_encoder.module[0].cls_token - model.algorithm.momentum_encoder.module[0].cls_token
    torch.testing.assert_close(moved, torch.full_like(moved, 0.005), rtol=1e-4, atol=1e-6)
    out['loss'].backward()
    assert all(p.grad is None for p in model.algorithm.momentum_encoder.parameters())
