"""Features of Stable Diffusion's denoiser, on a tiny model with random weights in a folder."""

import json
import sys

import numpy as np
import pytest

from corr.errors import UserError
from corr.semantic.features.grid import unit
from corr.semantic.features.stable_diffusion import StableDiffusionFeatures

pytest.importorskip("diffusers", reason="needs the extra sd")
pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = ["<|startoftext|>", "<|endoftext|>", "a", "c", "o", "w", "a</w>", "c</w>", "w</w>"]
SIDE = 100
STRIDES = {0: 4, 1: 2}  # of the tiny model's up-sampling blocks, times the encoder's 2


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder in diffusers' layout: two blocks down, two up, an encoder that halves once."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("sd")
    unet = UNet2DConditionModel(
        in_channels=4, out_channels=4, block_out_channels=(8, 16, 16), layers_per_block=1,
        norm_num_groups=4, attention_head_dim=4, cross_attention_dim=12,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    unet.save_pretrained(root / "unet")
    vae = AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    vae.save_pretrained(root / "vae")
    DDIMScheduler(beta_schedule="scaled_linear").save_pretrained(root / "scheduler")
    config = CLIPTextConfig(
        vocab_size=len(WORDS), hidden_size=12, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=7, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    CLIPTextModel(config).save_pretrained(root / "text_encoder")
    folder = root / "tokenizer"
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({w: k for k, w in enumerate(WORDS)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    names = {"bos_token": WORDS[0], "eos_token": WORDS[1], "unk_token": WORDS[1],
             "pad_token": WORDS[1], "tokenizer_class": "CLIPTokenizer"}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return root


def features(model, **changes) -> StableDiffusionFeatures:
    return StableDiffusionFeatures(**{"model": str(model), "long_side": SIDE, **changes})


PHOTO = np.random.default_rng(0).integers(0, 255, (77, 99, 3), dtype=np.uint8)


def test_blocks_give_hyperpixels_at_the_finest_ones_cells(model):
    both = features(model).extract(PHOTO)
    alone = [features(model, blocks=str(b)).extract(PHOTO) for b in STRIDES]
    for grid, stride in zip(alone, STRIDES.values(), strict=True):
        np.testing.assert_allclose(grid.step_uv, stride * 99 / SIDE, rtol=0.01)
        np.testing.assert_allclose(grid.first_uv, grid.step_uv / 2, rtol=0.01)
        assert grid.shape == tuple(len(range(stride // 2, n, stride)) for n in (78, SIDE))
    assert both.shape == alone[1].shape
    assert both.descriptor.shape[-1] == sum(g.descriptor.shape[-1] for g in alone)
    np.testing.assert_allclose(np.linalg.norm(both.flat, axis=1), 1, atol=1e-5)
    own = both.flat[:, -alone[1].descriptor.shape[-1] :]
    np.testing.assert_allclose(unit(own), alone[1].flat, atol=1e-5)


def test_map_is_what_the_whole_denoiser_computes_there(model):
    """Against the network run by hand, to its end, with a hook that only looks."""
    import torch

    from corr.semantic.features.denoiser import load_denoiser

    network = load_denoiser(str(model), "", (1,), torch.device("cpu"))
    assert network.multiple == 8
    pixels = torch.rand(1, 3, 80, 104, generator=torch.Generator().manual_seed(2)) * 2 - 1
    with torch.inference_mode():
        (found,) = network.maps(
            pixels, 100, (1,), draws=1, generator=torch.Generator().manual_seed(5)
        )
        seen = []
        hook = network.unet.up_blocks[1].register_forward_hook(lambda m, i, o: seen.append(o))
        latent = network.vae.encode(pixels).latent_dist.mean * network.vae.config.scaling_factor
        noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(5))
        kept = network.scheduler.alphas_cumprod[100]
        noisy = kept.sqrt() * latent + (1 - kept).sqrt() * noise
        network.unet(noisy, torch.tensor(100), encoder_hidden_states=network.prompt)
        hook.remove()
    torch.testing.assert_close(found, seen[0])


def test_same_photo_gives_the_same_grid_and_options_change_it(model):
    first = features(model).extract(PHOTO)
    np.testing.assert_array_equal(first.descriptor, features(model).extract(PHOTO).descriptor)
    for changes in ({"seed": 1}, {"step": 400}, {"draws": 3}, {"prompt": "a cow"}):
        other = features(model, **changes).extract(PHOTO)
        assert np.abs(other.descriptor - first.descriptor).max() > 1e-4, changes


def test_what_is_missing_is_named(model, tmp_path):
    with pytest.raises(UserError, match=r"features=sd needs features.model=<folder>"):
        features("").extract(PHOTO)
    with pytest.raises(UserError, match="lacks unet, vae, scheduler, text_encoder, tokenizer"):
        features(tmp_path).extract(PHOTO)
    with pytest.raises(UserError, match=r"features.blocks must lie in 0 … 2 .* got 3"):
        features(model, blocks="3").extract(PHOTO)
    for part in ("unet", "vae", "scheduler", "text_encoder", "tokenizer"):
        (tmp_path / part).mkdir()
    with pytest.raises(UserError, match="cannot be read as a Stable Diffusion model"):
        features(tmp_path).extract(PHOTO)


def test_missing_package_is_named_with_the_command_that_installs_it(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UserError, match=r"pip install 'few-view-recon\[sd\]'"):
        features(model).extract(PHOTO)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"long_side": 10}, "long_side must be at least 64, got 10"),
        ({"step": 1000}, "step must lie in 0 … 999, got 1000"),
        ({"blocks": "a"}, "blocks must be numbers with colons, got a"),
        ({"draws": 0}, "draws must be 1 or more, got 0"),
        ({"device": "gpu"}, "device must be auto, cpu or cuda, got gpu"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        StableDiffusionFeatures(**options)
