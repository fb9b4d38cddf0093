"""The reference loss, written from the formulas, and the invariants of RePreAlgorithm."""

import copy
import pickle

import pytest
import torch
from fixtures.models import ENCODERS, MEAN, STD, make_views, mocov3
from fixtures.reference import graph_tensors, plain_l1, train
from mmengine.registry import MODELS as ROOT_MODELS
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from torch import nn

from repre_mm.registry import MODELS


def build(encoder: str, **kwargs) -> nn.Module:
    model = MODELS.build(dict(type='repre_mm.RePreAlgorithm', algorithm=mocov3(ENCODERS[encoder][0]), **kwargs))
    model.init_weights()
    return model


def contrastive_loss(model: nn.Module, views: list[torch.Tensor]) -> torch.Tensor:
    """MoCo v3's symmetric loss on a copy of the plain algorithm."""
    return copy.deepcopy(model.algorithm).loss(views, None)['loss']


def test_loss_equals_the_formulas(encoder_name):
    model = build(encoder_name, loss_weighting=dict(init_steps=0))
    with torch.no_grad():
        model.loss_weighting.log_vars.copy_(torch.tensor([0.3, -0.8]))
    views = make_views(ENCODERS[encoder_name][1])
    contrast, recon = contrastive_loss(model, views), plain_l1(model, views[0])
    s1, s2 = torch.tensor(0.3), torch.tensor(-0.8)
    expected = torch.exp(-s1) * contrast + s1 + torch.exp(-s2) * recon + s2
    out = model(views, None, mode='loss')
    torch.testing.assert_close(out['recon_l1'], recon.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out['contrast'], contrast.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out['loss'], expected, rtol=1e-5, atol=1e-5)


def test_loss_gradient_equals_the_formulas(encoder_name):
    model = build(encoder_name, loss_weighting=dict(type='FixedWeighting', contrast=0.0, recon=1.0))
    views = make_views(ENCODERS[encoder_name][1])
    plain_l1(model, views[0]).backward()
    expected = {name: p.grad.clone() for name, p in model.backbone.named_parameters() if p.grad is not None}
    model.zero_grad()
    model(views, None, mode='loss')['loss'].backward()
    for name, gradient in expected.items():
        torch.testing.assert_close(model.backbone.get_parameter(name).grad, gradient, rtol=1e-4, atol=1e-6)


def count_forwards(model: nn.Module, views: list[torch.Tensor]) -> dict[str, int]:
    algorithm = getattr(model, 'algorithm', model)
    counts = {'online': 0, 'target': 0}

    def counter(name):
        def count(*_):
            counts[name] += 1

        return count

    algorithm.backbone.register_forward_hook(counter('online'))
    algorithm.momentum_encoder.module[0].register_forward_hook(counter('target'))
    model(views, None, mode='loss')
    return counts


def test_no_extra_encoder_pass(encoder_name):
    encoder, size = ENCODERS[encoder_name]
    views = make_views(size)
    plain = count_forwards(MMPRETRAIN_MODELS.build(mocov3(encoder)), views)
    assert plain == {'online': 2, 'target': 2}
    assert count_forwards(build(encoder_name), views) == plain


def test_reconstruction_gradient_goes_through_the_forward_that_made_q1(encoder_name):
    """Scale the tokens inside the first forward only: the heard levels and the gradient must scale with it."""
    model = build(encoder_name, loss_weighting=dict(type='FixedWeighting', contrast=0.0, recon=1.0))
    views = make_views(ENCODERS[encoder_name][1])
    grads = []

    def keep_gradient(module, args, output):
        if torch.is_grad_enabled():
            output[0].register_hook(grads.append)

    model.backbone.patch_embed.register_forward_hook(keep_gradient)
    model(views, None, mode='loss')['loss'].backward()
    # Two online forwards; autograd reaches the second one last-made first. Only view 1's carries reconstruction.
    norms = sorted(g.norm().item() for g in grads)
    assert len(norms) == 2
    assert norms[0] == 0
    assert norms[1] > 0


class StackedViews(BaseSelfSupervisor):
    """A contrastive stand-in that passes its views through the encoder in a given arrangement."""

    def __init__(self, arrange, **kwargs):
        super().__init__(**kwargs)
        self.arrange = arrange

    def loss(self, inputs, data_samples=None):
        total = 0
        for batch in self.arrange(inputs):
            total = total + self.backbone(batch)[0].square().mean()
        return dict(loss=total)


ARRANGEMENTS = {
    'one by one': lambda v: [v[0], v[1]],
    'second first': lambda v: [v[1], v[0]],
    'blocks': lambda v: [torch.cat(v)],
    'blocks reversed': lambda v: [torch.cat(v[::-1])],
    'interleaved': lambda v: [torch.stack(v, 1).flatten(0, 1)],
    'interleaved reversed': lambda v: [torch.stack(v[::-1], 1).flatten(0, 1)],
    'copies': lambda v: [v[0].clone(), v[1].clone()],
}


@pytest.mark.parametrize('arrangement', ARRANGEMENTS)
def test_view_1_is_reconstructed_however_views_are_stacked(arrangement, encoder_name):
    encoder, size = ENCODERS[encoder_name]
    algorithm = StackedViews(
        ARRANGEMENTS[arrangement], backbone=copy.deepcopy(encoder), data_preprocessor=dict(mean=MEAN, std=STD)
    )
    model = MODELS.build(dict(type='repre_mm.RePreAlgorithm', algorithm=algorithm))
    for batch in (4, 4, 3):  # twice the same shape: the second step reuses the layout found in the first
        views = make_views(size, batch)
        out = model(views, None, mode='loss')
        torch.testing.assert_close(out['recon_l1'], plain_l1(model, views[0]).detach(), rtol=1e-5, atol=1e-5)


def test_keys_of_a_shared_encoder_are_not_heard():
    """An encoder that first makes keys of view 1 without gradients: the later forward with gradients counts."""

    class KeysFirst(StackedViews):
        def loss(self, inputs, data_samples=None):
            with torch.no_grad():
                self.backbone(inputs[0])
            return super().loss(inputs)

    encoder, size = ENCODERS['vit']
    algorithm = KeysFirst(lambda v: v, backbone=copy.deepcopy(encoder), data_preprocessor=dict(mean=MEAN, std=STD))
    model = MODELS.build(
        dict(
            type='repre_mm.RePreAlgorithm',
            algorithm=algorithm,
            loss_weighting=dict(type='FixedWeighting', contrast=0.0),
        )
    )
    model(make_views(size), None, mode='loss')['loss'].backward()
    assert model.backbone.layers[0].attn.qkv.weight.grad.norm() > 0


def test_view_1_never_seen_is_an_error():
    encoder, size = ENCODERS['vit']
    algorithm = StackedViews(lambda v: [v[1]], backbone=copy.deepcopy(encoder))
    model = MODELS.build(dict(type='repre_mm.RePreAlgorithm', algorithm=algorithm))
    with pytest.raises(RuntimeError, match='StackedViews never passed view 1'):
        model(make_views(size), None, mode='loss')


def test_target_is_view_1_in_0_1_before_normalisation():
    model = build('vit')
    raw = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    data = model.data_preprocessor(dict(inputs=[raw, raw], data_samples=None), training=True)
    torch.testing.assert_close(model.pixels(data['inputs'][0]), raw / 255, rtol=0, atol=1e-6)


@pytest.mark.parametrize('size', [(32, 48), (64, 32)])
def test_any_crop_size(size):
    model = build('vit')
    views = [torch.randn(2, 3, *size) for _ in range(2)]
    out = model(views, None, mode='loss')
    assert model.reconstruct(torch.rand(2, 3, *size)).shape == (2, 3, *size)
    assert out['recon_l1'].isfinite()


def test_nothing_heard_stays_behind(encoder_name):
    model = build(encoder_name)
    views = make_views(ENCODERS[encoder_name][1])
    keys = set(model.state_dict())
    out = model(views, None, mode='loss')
    assert graph_tensors(model) == []
    hooked = [name for name, m in model.named_modules() if m._forward_hooks or m._forward_pre_hooks]
    assert hooked == []
    twin = copy.deepcopy(model)  # would fail with a graph tensor inside
    assert set(model.state_dict()) == keys
    out['loss'].backward()
    assert all(p.grad is None for p in model.algorithm.momentum_encoder.parameters())
    assert twin.backbone is not model.backbone


def test_nothing_stays_behind_after_an_error():
    model = build('vit')
    with pytest.raises(AttributeError):
        model([torch.randn(2, 3, 32, 32), 'no tensor'], None, mode='loss')
    assert graph_tensors(model) == []
    assert all(not m._forward_hooks for m in model.modules())


def test_weight_zero_is_bit_identical_to_the_plain_algorithm(encoder_name):
    """From one seed, without copying weights: the branch moves neither the weights nor the random stream."""
    encoder, size = ENCODERS[encoder_name]
    encoder = {**copy.deepcopy(encoder), 'drop_path_rate': 0.3}  # draws random numbers in every step
    batches = [make_views(size) for _ in range(4)]

    def run(cfg):
        torch.manual_seed(3)
        model = ROOT_MODELS.build(cfg)
        model.init_weights()
        return train(model, batches)

    weighting = dict(type='FixedWeighting', contrast=1.0, recon=0.0)
    plain_losses, plain = run(dict(mocov3(encoder), type='mmpretrain.MoCoV3'))
    losses, state = run(dict(type='repre_mm.RePreAlgorithm', algorithm=mocov3(encoder), loss_weighting=weighting))
    assert len({loss.item() for loss in losses}) == len(losses)
    for ours, theirs in zip(losses, plain_losses, strict=True):
        assert torch.equal(ours, theirs)
    for key, value in plain.items():
        assert torch.equal(state[key], value), key


def test_checkpoint_keys_are_those_of_the_plain_algorithm_plus_the_branch(encoder_name):
    plain = MMPRETRAIN_MODELS.build(mocov3(ENCODERS[encoder_name][0])).state_dict()
    state = build(encoder_name).state_dict()
    added = set(state) - set(plain)
    assert set(plain) <= set(state)
    assert {key.split('.')[0] for key in added} == {'repre_neck', 'repre_decoder', 'loss_weighting'}
    storages = [value.data_ptr() for value in state.values() if value.numel()]
    assert len(storages) == len(set(storages)), 'a tensor is in the file twice'


def test_state_dict_round_trip_and_plain_checkpoint():
    model, other = build('vit'), build('vit')
    assert other.load_state_dict(model.state_dict()).missing_keys == []
    for key, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key
    plain = MMPRETRAIN_MODELS.build(mocov3(ENCODERS['vit'][0]))
    result = other.load_state_dict(plain.state_dict(), strict=False)
    assert result.unexpected_keys == []
    assert {key.split('.')[0] for key in result.missing_keys} == {'repre_neck', 'repre_decoder', 'loss_weighting'}
    torch.testing.assert_close(other.backbone.cls_token, plain.backbone.cls_token)


def test_reconstruct_returns_images_and_restores_the_modes():
    model = build('vit').train()
    model.backbone.layers[1].eval()
    modes = [m.training for m in model.modules()]
    images = torch.randint(0, 256, (3, 3, 32, 40), dtype=torch.uint8)
    out = model.reconstruct(images)
    assert out.shape == images.shape
    assert out.dtype == torch.float32
    assert out.min() >= 0 and out.max() <= 1
    torch.testing.assert_close(model.reconstruct(images / 255), out)
    assert [m.training for m in model.modules()] == modes
    with pytest.raises(ValueError, match=r'must lie in \[0, 1\]'):
        model.reconstruct(images.float())


def test_reconstruction_learns():
    """Two images can be memorised: the mean error falls to a fraction, so gradients have the right sign."""
    model = build('vit', loss_weighting=dict(type='FixedWeighting', contrast=0.0, recon=1.0))
    views = make_views(32, batch=2)
    losses, _ = train(model, [views] * 60, lr=3e-3)
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize('build_registry', [MODELS, ROOT_MODELS, MMPRETRAIN_MODELS])
@pytest.mark.parametrize('scope', ['mmpretrain', 'mmdet', 'mmseg', 'repre_mm'])
def test_builds_from_any_scope(build_registry, scope):
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope(scope):
        model = build_registry.build(
            dict(
                type='repre_mm.RePreAlgorithm', algorithm=mocov3(ENCODERS['vit'][0]), decoder=dict(type='RePreDecoder')
            )
        )
    assert type(model.algorithm).__name__ == 'MoCoV3'


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        (
            dict(algorithm=dict(type='MoCoV4')),
            KeyError,
            'MoCoV4 is not in the mmpretrain::model registry',
        ),
        (dict(neck=dict(num_levels=7)), ValueError, r'num_levels=7 .* encoder of depth 6: choose 1 to 6'),
        (dict(neck=dict(indices=[2, 9])), ValueError, r'indices=\[2, 9\] do not fit an encoder of depth 6'),
        (dict(neck=dict(features='some')), ValueError, r"features='some' is unknown: use 'multi' or 'single'"),
        (dict(decoder=dict(fusion='lstm')), ValueError, r"fusion='lstm' is unknown"),
        (dict(decoder=dict(num_fusion_layers=0)), ValueError, r'num_fusion_layers=0 must be at least 1'),
    ],
)
def test_wrong_settings_name_the_culprit(change, error, message):
    cfg = dict(type='repre_mm.RePreAlgorithm', algorithm=mocov3(ENCODERS['vit'][0]))
    with pytest.raises(error, match=message):
        MODELS.build({**cfg, **change})


def test_input_not_divisible_by_the_patch():
    model = build('vit')
    with pytest.raises(ValueError, match='30 x 32 pixels is not divisible by the patch of 8 x 8'):
        model([torch.randn(2, 3, 30, 32)] * 2, None, mode='loss')


def test_unknown_encoder_family_says_what_to_do():
    algorithm = mocov3(ENCODERS['vit'][0])
    algorithm['backbone'] = dict(type='LeNet5')
    with pytest.raises(TypeError, match='does not know the levels of LeNet5'):
        MODELS.build(dict(type='repre_mm.RePreAlgorithm', algorithm=algorithm))


def test_single_features_keep_the_default_decoder(encoder_name):
    multi, single = build(encoder_name), build(encoder_name, neck=dict(features='single'))
    shapes = [{name: p.shape for name, p in model.repre_decoder.named_parameters()} for model in (single, multi)]
    assert shapes[0] == shapes[1]
    assert [len(block) for block in single.repre_decoder.fusions] == [
        len(block) for block in multi.repre_decoder.fusions
    ]
    view = make_views(ENCODERS[encoder_name][1])[0]
    with single.tap.open(single.backbone, single.repre_neck.indices, view) as levels:
        single.backbone(view)
    kept = [levels[index].retain_grad() or levels[index] for index in single.repre_neck.indices]
    single.repre_decoder.loss(single.repre_neck(kept), single.pixels(view)).backward()
    assert all(level.grad is None for level in kept[:-1])  # only the last level is decoded
    assert kept[-1].grad.any()


class ManyLosses(StackedViews):
    """An algorithm whose losses come in every form that mmengine takes."""

    def loss(self, inputs, data_samples=None):
        first, second = (self.backbone(view)[0].square() for view in inputs)  # (B, C)
        return {'loss_each': first.mean(1), 'loss_layers': [first, second.mean()], 'norm': first.detach()}


def test_losses_are_joined_as_mmengine_joins_them():
    encoder, size = ENCODERS['vit']
    algorithm = ManyLosses(None, backbone=copy.deepcopy(encoder), data_preprocessor=dict(mean=MEAN, std=STD))
    model = MODELS.build(dict(type='repre_mm.RePreAlgorithm', algorithm=algorithm))
    views = make_views(size)
    expected, log = algorithm.parse_losses(algorithm.loss(views))
    out = model(views, None, mode='loss')
    torch.testing.assert_close(out['contrast'], expected.detach())
    total, logged = model.parse_losses(out)
    assert total is out['loss'] is not None
    for name in ('norm', 'loss_each', 'loss_layers'):  # the method's own, for the log
        torch.testing.assert_close(logged[name], log[name])
    torch.testing.assert_close(logged['loss'], total)


def test_a_loss_that_is_no_tensor_is_refused():
    encoder, size = ENCODERS['vit']
    algorithm = StackedViews(lambda v: v, backbone=copy.deepcopy(encoder))
    forward = algorithm.loss
    algorithm.loss = lambda *args: {**forward(*args), 'loss_other': 'three'}
    model = MODELS.build(dict(type='repre_mm.RePreAlgorithm', algorithm=algorithm))
    with pytest.raises(TypeError, match='loss_other is not a tensor or list of tensors'):
        model(make_views(size), None, mode='loss')


def test_public_attributes_of_the_algorithm_are_handed_on():
    model = build('vit')
    model.algorithm.register_buffer('queue', torch.zeros(2, 8))
    model.algorithm._private = 1
    assert model.queue is model.algorithm.queue
    assert model.momentum_encoder is model.algorithm.momentum_encoder
    assert model.head is model.algorithm.head
    assert model.repre_neck is not None and model.tap is not None  # its own come first
    assert not hasattr(model, '_private')
    with pytest.raises(AttributeError, match="'RePreAlgorithm' object has no attribute 'nonesuch'"):
        _ = model.nonesuch
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.queue is twin.algorithm.queue is not model.queue
        assert twin.state_dict().keys() == model.state_dict().keys()
    assert len([name for name, _ in model.named_parameters() if 'patch_embed.projection.weight' in name]) == 2
