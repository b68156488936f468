"""Stable Diffusion's parts as `diffusers` reads them from a folder, and one step of denoising."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from corr.errors import UserError

_PAGE = "a Stable Diffusion 1.x or 2.x model as https://huggingface.co/docs/diffusers saves it"
_PARTS = ("unet", "vae", "scheduler", "text_encoder", "tokenizer")


class _Enough(Exception):
    """All wanted maps are there; the rest of the network need not run."""


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A loaded model and its encoded prompt."""

    unet: Any
    vae: Any
    scheduler: Any
    prompt: Float[Tensor, "1 words d"]

    @property
    def multiple(self) -> int:
        """What height and width of the input must be multiples of, pixels."""
        halvings = [len(part.config.block_out_channels) - 1 for part in (self.vae, self.unet)]
        return int(2 ** sum(halvings))

    def maps(
        self,
        pixels: Float[Tensor, "1 3 h w"],
        step: int,
        blocks: tuple[int, ...],
        *,
        draws: int,
        generator: torch.Generator,
    ) -> list[Tensor]:
        """Maps after the wanted up-sampling blocks, the mean over some drawings of noise.

        Args:
            pixels: -1 … 1, height and width multiples of `multiple`.
            step: Time step that the photo is noised to.
            blocks: Up-sampling blocks, ascending.
            draws: How many drawings.
            generator: Of the noise, on the CPU: the same on every device.
        """
        device = self.prompt.device
        posterior = self.vae.encode(pixels.to(device)).latent_dist
        latent = posterior.mode() * self.vae.config.scaling_factor
        time = torch.tensor([step], device=device)
        total: list[Tensor] = []
        for _ in range(draws):
            noise = torch.randn(latent.shape, generator=generator).to(latent)
            maps = self._once(self.scheduler.add_noise(latent, noise, time), time, blocks)
            total = [a + b for a, b in zip(total, maps, strict=True)] if total else maps
        return [m / draws for m in total]

    def _once(self, noisy: Tensor, time: Tensor, blocks: tuple[int, ...]) -> list[Tensor]:
        maps: list[Tensor] = []

        def keep(module: Any, given: Any, out: Tensor) -> None:
            maps.append(out)
            if len(maps) == len(blocks):
                raise _Enough

        hooks = [self.unet.up_blocks[b].register_forward_hook(keep) for b in blocks]
        try:
            self.unet(noisy, time, encoder_hidden_states=self.prompt)
        except _Enough:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return maps


def load_denoiser(
    folder: str, prompt: str, blocks: tuple[int, ...], device: torch.device
) -> Denoiser:
    """A model from a folder in `diffusers`' layout, ready to answer.

    Args:
        folder: With the subfolders of `_PARTS`.
        prompt: Encoded once, for all photos.
        blocks: Up-sampling blocks that will be asked for.
        device: Where it runs.

    Raises:
        UserError: `diffusers` is not installed, the folder is not complete, or has no such block.
    """
    try:
        from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError as error:
        raise UserError(
            f"features=sd needs diffusers and transformers ({error}): "
            "pip install 'few-view-recon[sd]'"
        ) from None
    root = _complete(folder)
    try:
        unet = _read(UNet2DConditionModel, root, "unet")
        vae = _read(AutoencoderKL, root, "vae")
        scheduler = DDIMScheduler.from_pretrained(root / "scheduler", local_files_only=True)
        tokenizer = CLIPTokenizer.from_pretrained(root / "tokenizer", local_files_only=True)
        text = CLIPTextModel.from_pretrained(root / "text_encoder", local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"{root} cannot be read as a Stable Diffusion model ({str(error).splitlines()[0]})"
        ) from None
    if max(blocks) >= len(unet.up_blocks):
        raise UserError(
            f"features.blocks must lie in 0 … {len(unet.up_blocks) - 1} for the model in {root}, "
            f"got {max(blocks)}"
        )
    encoded = _encode(tokenizer, text.eval(), prompt)
    unet, vae = (m.eval().requires_grad_(False).to(device) for m in (unet, vae))
    return Denoiser(unet, vae, scheduler, encoded.to(device))


def _complete(folder: str) -> Path:
    """The folder, if every part is there."""
    if not folder:
        raise UserError(f"features=sd needs features.model=<folder> ({_PAGE})")
    root = Path(folder).expanduser()
    lacking = [part for part in _PARTS if not (root / part).is_dir()]
    if lacking:
        raise UserError(f"features.model={folder} lacks {', '.join(lacking)} ({_PAGE})")
    return root


def _read(kind: Any, root: Path, part: str) -> Any:
    # The frugal way of loading needs another package, accelerate.
    return kind.from_pretrained(root / part, local_files_only=True, low_cpu_mem_usage=False)


def _encode(tokenizer: Any, text: Any, prompt: str) -> Tensor:
    words = tokenizer(
        prompt, padding="max_length", truncation=True, return_tensors="pt",
        max_length=text.config.max_position_embeddings,
    )  # fmt: skip
    with torch.inference_mode():
        return text(words.input_ids)[0]
