"""Our vision transformer against `transformers`, with the same random weights; its checkpoints."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from corr.errors import UserError
from corr.semantic.features.dino import DinoFeatures
from corr.semantic.features.vit import VisionTransformer, ViTShape
from corr.semantic.features.vit_checkpoint import (
    RELEASES,
    find_checkpoint,
    load_vit,
    official_names,
    shape_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")
CLOSE = 1e-5  # the largest difference of any token that the same arithmetic in float32 may have
SMALL = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 2}
MODELS = {
    "DINOv2": ("Dinov2Model", "Dinov2Config", {"image_size": 70, "patch_size": 14}),
    "DINOv2, gated": (
        "Dinov2Model", "Dinov2Config",
        {"image_size": 70, "patch_size": 14, "use_swiglu_ffn": True},
    ),
    "DINOv2 with registers": (
        "Dinov2WithRegistersModel", "Dinov2WithRegistersConfig",
        {"image_size": 70, "patch_size": 14},
    ),
    "DINOv3": (
        "DINOv3ViTModel", "DINOv3ViTConfig", {"num_register_tokens": 4, "intermediate_size": 256},
    ),
    "DINOv3, gated": (
        "DINOv3ViTModel", "DINOv3ViTConfig",
        {"num_register_tokens": 4, "intermediate_size": 256, "use_gated_mlp": True,
         "hidden_act": "silu"},
    ),
}  # fmt: skip


def peer(name: str):
    """Their model with random weights, none of them left at a value that hides a mistake."""
    transformers = pytest.importorskip("transformers")
    model, config, options = MODELS[name]
    torch.manual_seed(3)
    built = getattr(transformers, model)(getattr(transformers, config)(**SMALL, **options)).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return built


def ours(state, **changes) -> VisionTransformer:
    official = official_names(state)
    network = VisionTransformer(replace(shape_of(official), **changes))
    network.load_state_dict(official)
    return network.eval()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [(70, 70), (112, 84)], ids=["as trained", "other size"])
def test_tokens_are_those_of_transformers(name, size):
    model = peer(name)
    patch = 16 if "DINOv3" in name else 14
    height, width = (s // 14 * patch for s in size)
    x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    # Theirs interpolates positions to the size; the offset of the first releases is tested below.
    network = ours(model.state_dict(), offset=0.0)
    with torch.inference_mode():
        expected = model(pixel_values=x).last_hidden_state
        tokens = network(x)
    assert tokens.shape == expected.shape
    assert float((tokens - expected).abs().max()) < CLOSE
    assert float(expected.std()) > 0.1


@pytest.mark.parametrize("name", ["DINOv2 with registers", "DINOv3"])
def test_map_of_a_layer_is_that_of_transformers(name):
    model = peer(name)
    patch = 16 if "DINOv3" in name else 14
    x = torch.randn(1, 3, 3 * patch, 5 * patch, generator=torch.Generator().manual_seed(2))
    network = ours(model.state_dict())
    with torch.inference_mode():
        hidden = model(pixel_values=x, output_hidden_states=True).hidden_states
        maps = network.patches(x, layer=1)
    assert maps.shape == (1, 128, 3, 5)
    expected = hidden[2][0, 5:]
    assert float((maps[0].flatten(1).T - expected).abs().max()) < CLOSE


def dino(seed: int = 0, **changes) -> VisionTransformer:
    """A network of DINO's first form with random weights."""
    torch.manual_seed(seed)
    shape = ViTShape(64, 2, 1, 8, 128, positions=17)
    network = VisionTransformer(replace(shape, **changes)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return network


OFFICIAL = {
    "dino_vits8": (
        ViTShape(64, 2, 1, 8, 256, positions=17),
        {"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.1.attn.qkv.bias",
         "blocks.0.mlp.fc1.weight", "blocks.0.norm2.bias", "norm.weight"},
    ),
    "dinov2_vits14_reg": (
        ViTShape(64, 2, 1, 14, 256, 4, positions=17, scaled=True, mask_token=True, offset=0.0,
                 antialias=True),
        {"register_tokens", "mask_token", "blocks.0.ls1.gamma", "blocks.1.ls2.gamma"},
    ),
    "dinov2_vitg14": (
        ViTShape(64, 2, 1, 14, 96, positions=17, gated="w12", scaled=True, mask_token=True),
        {"blocks.0.mlp.w12.weight", "blocks.1.mlp.w3.bias"},
    ),
    "dinov3_vits16": (
        ViTShape(64, 2, 1, 16, 256, 4, scaled=True, masked_bias=True, mask_token=True,
                 register_name="storage_tokens", eps=1e-5, offset=0.0, antialias=True),
        {"storage_tokens", "rope_embed.periods", "blocks.0.attn.qkv.bias_mask"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", OFFICIAL)
def test_checkpoint_with_official_names_is_found_in_the_hub_cache_and_read(
    model, tmp_path, monkeypatch
):
    shape, names = OFFICIAL[model]
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    network = VisionTransformer(shape)
    assert names <= set(network.state_dict())
    file = RELEASES[model].pattern.replace("*", "-08c60483")
    torch.save(network.state_dict(), folder / file)
    read = load_vit(model)
    assert read.shape == shape
    x = torch.randn(1, 3, 2 * shape.patch, 3 * shape.patch)
    with torch.inference_mode():
        np.testing.assert_array_equal(read(x).numpy(), network.eval()(x).numpy())
    assert find_checkpoint(model, str(folder / file)) == folder / file


def test_masked_bias_counts_as_zero():
    shape = OFFICIAL["dinov3_vits16"][0]
    torch.manual_seed(0)
    network = VisionTransformer(shape).eval()
    x = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        before = network(x)
        for block in network.blocks:
            block.attn.qkv.bias_mask[64:128] = 0
            block.attn.qkv.bias[64:128] = float("nan")
        after = network(x)
        for block in network.blocks:
            block.attn.qkv.bias_mask[64:128] = 1
            block.attn.qkv.bias[64:128] = 0
        assert torch.isfinite(after).all()
        torch.testing.assert_close(after, network(x))
    assert not torch.equal(before, after)


def test_positions_of_the_first_releases_use_their_offset():
    network, plain = dino(), dino(offset=0.0)
    x = torch.randn(1, 3, 48, 40)
    with torch.inference_mode():
        assert not torch.equal(network(x), plain(x))
        square = torch.randn(1, 3, 32, 32)
        torch.testing.assert_close(network(square), plain(square))
    grid = network.pos_embed[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(
        grid, scale_factor=(6.1 / 4, 5.1 / 4), mode="bicubic"
    )
    assert expected.shape[-2:] == (6, 5)
    torch.testing.assert_close(network._positions(6, 5)[:, 1:], expected.flatten(2).mT)


def test_facets_are_different_maps_and_the_norm_is_applied_when_asked():
    network = dino()
    x = torch.randn(1, 3, 16, 24)
    with torch.inference_mode():
        maps = {f: network.patches(x, layer=1, facet=f)
                for f in ("token", "query", "key", "value")}  # fmt: skip
        normed = network.patches(x, layer=-1, norm=True)
        torch.testing.assert_close(normed.flatten(2).mT, network(x)[:, 1:])
    assert {m.shape for m in maps.values()} == {(1, 64, 2, 3)}
    assert len({float(m.sum()) for m in maps.values()}) == 4


def test_size_that_is_no_multiple_of_the_patch_is_refused():
    with pytest.raises(ValueError, match="multiples of 8, got"):
        dino()(torch.zeros(1, 3, 20, 16))


def test_features_are_on_the_patches_centres_with_padding_left_out(tmp_path):
    file = tmp_path / "mine.pth"
    torch.save(
        {"teacher": {f"module.backbone.{k}": v for k, v in dino().state_dict().items()}}, file
    )
    features = DinoFeatures(model="dino_vits8", weights=str(file), long_side=100)
    rgb = np.random.default_rng(0).integers(0, 255, (75, 50, 3), dtype=np.uint8)
    g = features.extract(rgb)
    np.testing.assert_allclose(g.first_uv, [4 * 50 / 67, 3])
    np.testing.assert_allclose(g.step_uv, [8 * 50 / 67, 6])
    assert g.shape == (12, 8)  # 100 x 67 network pixels, padded to 104 x 72
    assert g.descriptor.shape[-1] == 64


def test_missing_wrong_and_damaged_checkpoints_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"dinov2_vitb14_pretrain\.pth is not in .*licence: Apache"):
        load_vit("dinov2_vitb14")
    with pytest.raises(UserError, match=r"must be one of dino_vits16, .*, got vgg"):
        load_vit("vgg")
    with pytest.raises(UserError, match=r"features\.weights=no\.pth does not exist"):
        load_vit("dino_vits8", "no.pth")
    damaged = tmp_path / "bad.pth"
    damaged.write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        load_vit("dino_vits8", str(damaged))
    torch.save({"a": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="is no checkpoint of dino_vits8"):
        load_vit("dino_vits8", str(tmp_path / "other.pth"))
    torch.save(dino().state_dict(), tmp_path / "good.pth")
    with pytest.raises(UserError, match=r"layer must lie in 0 … 1, got 7"):
        DinoFeatures("dino_vits8", str(tmp_path / "good.pth"), layer=7).extract(
            np.zeros((64, 64, 3), np.uint8)
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"facet": "queries"}, "facet must be one of token, query, key, value, got queries"),
        ({"long_side": 3}, "long_side must be at least 64"),
        ({"device": "tpu"}, "device must be auto, cpu or cuda"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DinoFeatures(**options)
