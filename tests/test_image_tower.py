"""The image tower with learned tokens: exact against a plain reference, and against the model's own without them."""

from __future__ import annotations

import json
import re

import numpy as np
import open_clip
import pytest
import reference
import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.layers import LayerNorm
from timm.models import eva, model_entrypoint
from timm.models import vision_transformer as vit
from torch.testing import assert_close

from promptctl.clip.backbone import Backbone
from promptctl.clip.image_tower import ImageTower, encoder_with
from promptctl.clip.registry import MINI_FOLDER
from promptctl.clip.vit import has_image_tokens, require_image_tokens
from promptctl.encoding.translate import engine
from promptctl.errors import BadSetting, NoVisualTokens, WrongArgument

SIDE, WIDTH, LAYERS, JOINT, N_TOKENS = 24, 32, 3, 20, 3


def of_open_clip(**settings):
    return VisionTransformer(SIDE, 8, WIDTH, LAYERS, 4, 2.0, **{"output_dim": JOINT, **settings})


def of_timm(trunk):
    """open_clip's adapter around a tiny ViT of timm's."""
    model = TimmModel("test_vit", JOINT, pool="token", proj="")
    model.trunk = trunk
    return model


def timm_vit(**settings):
    small = {"img_size": SIDE, "patch_size": 8, "embed_dim": WIDTH, "depth": LAYERS, "num_heads": 4, "mlp_ratio": 2}
    return of_timm(vit.VisionTransformer(**small, **{"num_classes": 0, **settings}))


def timm_eva(**settings):
    small = {"img_size": SIDE, "patch_size": 8, "embed_dim": WIDTH, "depth": LAYERS, "num_heads": 4, "mlp_ratio": 2}
    return of_timm(eva.Eva(**small, num_classes=JOINT, head_init_scale=1, **settings))


def siglip():
    return timm_vit(class_token=False, global_pool="map")


def perception_encoder():
    return timm_eva(
        global_pool="map",
        attn_type="rope",
        use_pre_transformer_norm=True,
        use_rot_pos_emb=True,
        ref_feat_shape=(3, 3),
        rope_grid_offset=1.0,
        norm_layer=lambda width, **kind: LayerNorm(width, eps=1e-5, **kind),
    )


# every way of arranging a ViT that open_clip's table has, and what its classes offer besides
TOWERS = {
    "CLIP": of_open_clip,
    "CLIPA": lambda: of_open_clip(
        no_ln_pre=True, pool_type="avg", final_ln_after_pool=True, pos_embed_type="sin_cos_2d"
    ),
    "mean of the patches": lambda: of_open_clip(pool_type="avg"),
    "CoCa": lambda: of_open_clip(attentional_pool=True, attn_pooler_queries=5, attn_pooler_heads=4, output_tokens=True),
    "CoCa in parallel": lambda: of_open_clip(attentional_pool="parallel", attn_pooler_heads=4, output_dim=WIDTH),
    "scaled": lambda: of_open_clip(ls_init_value=0.5),
    "normed queries": lambda: of_open_clip(qk_norm=True),
    "SigLIP": siglip,
    "registers": lambda: timm_vit(reg_tokens=2, global_pool="avg", init_values=0.5, num_classes=JOINT),
    "EVA-02": lambda: timm_eva(
        qkv_fused=False, swiglu_mlp=True, scale_mlp=True, scale_attn_inner=True, use_rot_pos_emb=True
    ),
    "EVA-02-E": lambda: timm_eva(use_post_norm=True),
    "mixed rotations": lambda: timm_eva(use_rot_pos_emb=True, rope_type="mixed"),
    "Perception Encoder": perception_encoder,
}


def random_tower(make, dtype=torch.float64):
    """A tower of random weights, so large that every part of it matters."""
    torch.manual_seed(0)
    visual = make().to(dtype).eval()
    with torch.no_grad():
        for weight in visual.parameters():
            weight.add_(torch.randn_like(weight) / 5)
    return visual


def pictures(n=4, dtype=torch.float64):
    return torch.randn(n, 3, SIDE, SIDE, dtype=dtype, generator=torch.Generator().manual_seed(1))


def learned(depth, dtype=torch.float64, n=N_TOKENS):
    tokens = torch.randn(depth, n, WIDTH, dtype=dtype, generator=torch.Generator().manual_seed(2))
    return tokens.requires_grad_()


def value_and_gradient(features, tokens):
    gradient = torch.autograd.grad((features * torch.linspace(-1, 1, features.shape[1]).to(features)).sum(), tokens)
    return features.detach(), gradient[0]


@pytest.mark.parametrize("depth", [1, 2, LAYERS])
@pytest.mark.parametrize("name", ["CLIP", "mean of the patches", "SigLIP", "Perception Encoder"])
def test_tokens_are_the_papers(name, depth):
    visual, tokens = random_tower(TOWERS[name]), learned(depth)
    expected, gradient = value_and_gradient(reference.image_features(visual, pictures(), tokens), tokens)
    found, own = value_and_gradient(ImageTower(visual).encode(pictures(), tokens), tokens)
    assert_close(found, expected, atol=1e-10, rtol=1e-10)
    assert_close(own, gradient, atol=1e-10, rtol=1e-10)
    assert gradient.flatten(1).norm(dim=1).min() > 1e-3  # every depth matters


@pytest.mark.parametrize("name", TOWERS)
def test_without_tokens_it_is_the_models_own(name):
    visual = random_tower(TOWERS[name])
    own = visual(pictures())
    own = (own[0] if isinstance(own, tuple) else own).flatten(1)
    tower = ImageTower(visual)
    assert (tower.width, tower.layers, tower.joint_width) == (WIDTH, LAYERS, own.shape[1])
    assert_close(tower.encode(pictures()), own, atol=1e-12, rtol=1e-12)
    assert_close(tower.encode(pictures(), learned(2, n=0)), own, atol=1e-12, rtol=1e-12)
    with_some = tower.encode(pictures(), learned(2))
    assert with_some.shape == own.shape
    assert (with_some - own).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["CLIP", "SigLIP"])
def test_in_float32_it_is_what_the_encoder_gives_today(name):
    visual = random_tower(TOWERS[name], torch.float32)
    with torch.inference_mode():
        own, found = visual(pictures(dtype=torch.float32)), ImageTower(visual).encode(pictures(dtype=torch.float32))
    assert_close(found, own, atol=1e-5 * float(own.abs().max()), rtol=0)


@pytest.mark.parametrize("name", ["CLIP", "normed queries", "EVA-02"])
def test_computing_blocks_twice_changes_nothing(name):
    tower, tokens = ImageTower(random_tower(TOWERS[name])), learned(2)
    kept = value_and_gradient(tower.encode(pictures(), tokens), tokens)
    twice = value_and_gradient(tower.encode(pictures(), tokens, checkpointed=True), tokens)
    assert_close(twice, kept, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", ["CLIP", "SigLIP", "EVA-02"])
def test_bfloat16_learns_in_nearly_the_same_direction(name):
    tower = ImageTower(random_tower(TOWERS[name], torch.float32))
    tokens, seen = learned(2, torch.float32), pictures(dtype=torch.float32)
    features, gradient = value_and_gradient(tower.encode(seen, tokens), tokens)
    halved, near = value_and_gradient(tower.encode(seen, tokens, precision="bfloat16"), tokens)
    assert halved.dtype == near.dtype == torch.float32
    assert not torch.equal(halved, features)
    assert torch.cosine_similarity(near.flatten(), gradient.flatten(), dim=0) > 0.99
    assert torch.cosine_similarity(halved, features).min() > 0.999


def test_nothing_of_the_backbone_learns():
    visual, tokens = random_tower(of_open_clip), learned(1)
    ImageTower(visual).encode(pictures(), tokens).sum().backward()
    assert tokens.grad is not None
    assert not visual.training
    assert not any(weight.requires_grad or weight.grad is not None for weight in visual.parameters())


def test_what_no_token_changes_may_be_computed_once():
    tower, tokens = ImageTower(random_tower(siglip)), learned(2)
    places = tower.places(pictures())
    assert not places.requires_grad
    assert torch.equal(tower.features(places, tokens), tower.encode(pictures(), tokens))


@pytest.mark.parametrize(
    ("shape", "error", "sentence"),
    [
        ((2, 3, 33), WrongArgument, "the tensor of visual tokens is 2 x 3 x 33, depth x tokens x 32 was expected"),
        ((3, 32), WrongArgument, "the tensor of visual tokens is 3 x 32, depth x tokens x 32 was expected"),
        ((4, 3, 32), BadSetting, "visual_depth is 4, at most 3 (the blocks of the image tower) was expected"),
    ],
)
def test_tokens_of_another_tower_are_refused(shape, error, sentence):
    tower = ImageTower(random_tower(of_open_clip))
    for use in (lambda tokens: tower.encode(pictures(), tokens), tower.with_tokens):
        with pytest.raises(error, match=f"^{re.escape(sentence)}$"):
            use(torch.zeros(shape))


class Elsewise(VisionTransformer):
    """A ViT of somebody else's, whose forward may do anything."""


def with_a_strange_block():
    visual = of_open_clip()
    visual.transformer.resblocks[1] = torch.nn.Identity()
    return visual


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda: Backbone("mini").visual,
            "its image tower is of the kind EfficientNet, and visual tokens need a plain ViT",
        ),
        (
            lambda: ModifiedResNet((1, 1, 1, 1), JOINT, 4, image_size=32, width=8),
            "its image tower is of the kind ModifiedResNet, and visual tokens need a plain ViT",
        ),
        (
            lambda: Elsewise(SIDE, 8, WIDTH, 1, 4, 2.0),
            "its image tower is of the kind Elsewise, and visual tokens need a plain ViT",
        ),
        (with_a_strange_block, "its image tower has blocks of the kind Identity, which is not known here"),
        (lambda: of_open_clip(pool_type="none"), "its image tower does not pool its patches"),
        (lambda: timm_vit(global_pool=""), "its image tower does not pool its patches"),
    ],
)
def test_what_is_no_known_vit_is_refused(make, reason):
    with pytest.raises(NoVisualTokens) as caught:
        ImageTower(make(), name="x")
    assert str(caught.value) == f"'x' cannot learn visual tokens: {reason}"
    assert caught.value.hint == "--model ViT-B-32/laion2b_s34b_b79k"


def test_a_later_open_clip_that_arranges_its_tower_otherwise_is_refused(monkeypatch):
    visual = of_open_clip()
    monkeypatch.delattr(VisionTransformer, "_pool")
    with pytest.raises(NoVisualTokens, match="arranges the image tower in a way not known here"):
        ImageTower(visual)


def test_the_configuration_alone_tells_which_towers_are_vits():
    """Of every model that open_clip lists, by the module in which timm has its image tower."""
    told = {name: has_image_tokens(open_clip.get_model_config(name)) for name in open_clip.list_models()}
    for name, is_vit in told.items():
        vision = open_clip.get_model_config(name)["vision_cfg"]
        if of_timm := vision.get("timm_model_name"):
            module = model_entrypoint(of_timm).__module__.removeprefix("timm.models.")
            assert is_vit == (module in ("vision_transformer", "vision_transformer_hybrid", "eva", "vitamin")), name
        else:
            assert is_vit == (not name.startswith("RN")), name
    assert sum(told.values()) > 50
    config = json.loads((MINI_FOLDER / "open_clip_config.json").read_text("utf-8"))
    with pytest.raises(
        NoVisualTokens, match=r"^'mini' .* kind tf_efficientnet_lite0, and visual tokens need a plain ViT$"
    ):
        require_image_tokens("mini", config)
    require_image_tokens("ViT-B-32", open_clip.get_model_config("ViT-B-32"))


@pytest.mark.parametrize("model", ["RN50/openai", "convnext_base_w/laion2b_s13b_b82k", "MobileCLIP-S1/datacompdr"])
def test_learning_tokens_in_what_is_no_vit_is_refused_before_anything_is_downloaded(model, cli, photos):
    found = cli("learn", photos, "--name", "birds", "--model", model, "--visual-tokens", "4")
    assert found.code == 1
    assert f"'{model}' cannot learn visual tokens: its image tower is of the kind " in found.err
    assert "and visual tokens need a plain ViT" in found.err
    assert "--model ViT-B-32/laion2b_s34b_b79k" in found.err


@pytest.fixture
def encoder(tiny):
    """The tiny CLIP's, and tokens for its tower of a width of 64."""
    tokens = np.random.default_rng(0).normal(size=(2, 4, 64)).astype(np.float32)
    own = Backbone(tiny).encoder
    return own, encoder_with(own, tokens), tokens


def test_an_encoder_with_tokens_gives_unit_rows_of_the_towers_features(encoder):
    own, with_tokens, tokens = encoder
    seen = torch.randn(3, 3, own.size, own.size, generator=torch.Generator().manual_seed(0))
    features = with_tokens.encode(seen.numpy())
    expected = ImageTower(own.visual).encode(seen, torch.from_numpy(tokens))
    assert_close(torch.from_numpy(features), torch.nn.functional.normalize(expected, dim=-1), atol=1e-6, rtol=0)
    assert np.abs(features - own.encode(seen.numpy())).max() > 1e-3
    assert (with_tokens.width, with_tokens.size) == (own.width, own.size)


def test_an_encoders_fingerprint_is_of_the_backbone_and_of_every_bit_of_the_tokens(encoder):
    own, with_tokens, tokens = encoder
    again = encoder_with(own, tokens.astype(">f4"))
    changed = tokens.copy()
    changed[1, 3, 63] = np.nextafter(changed[1, 3, 63], np.float32(np.inf))
    others = [changed, tokens.reshape(1, 8, 64), tokens[:1], tokens[:, ::-1]]
    prints = {e.fingerprint for e in (own, with_tokens, *(encoder_with(own, other) for other in others))}
    assert again.fingerprint == with_tokens.fingerprint
    assert len(prints) == 2 + len(others)
    assert all(re.fullmatch("[0-9a-f]{64}", found) for found in prints)


def test_a_tower_with_tokens_is_one_module_that_the_engine_runs():
    tower, tokens = ImageTower(random_tower(of_open_clip, torch.float32)), learned(2, torch.float32)
    module, seen = tower.with_tokens(tokens), pictures(7, torch.float32)
    with torch.inference_mode():
        own = tower.encode(seen, tokens)
        assert torch.equal(module(seen), own)
        assert not torch.allclose(own, tower.encode(seen), atol=1e-2)
        pytest.importorskip("openvino")
        found = engine(module, seen[:3])
        assert found is not None
        for n in (1, 7):
            assert torch.cosine_similarity(found(seen[:n]), own[:n]).min() > 1 - 1e-6


def test_a_tower_with_tokens_goes_as_a_whole_wherever_it_is_sent():
    tokens = learned(2)
    module = ImageTower(random_tower(of_open_clip)).with_tokens(tokens)
    before = module(pictures())
    with torch.no_grad():
        tokens.zero_()  # what is learned on with does not change what was made
    after = module.float()(pictures().float())
    assert after.dtype == torch.float32
    assert_close(after.double(), before, atol=1e-4 * float(before.abs().max()), rtol=0)
    assert not any(weight.requires_grad for weight in module.parameters())
