"""Features from inside Stable Diffusion's denoiser, through `diffusers` (extra `sd`).

A photo is encoded, noised to one time step and denoised once; maps of the decoder's blocks on the
way are the descriptors. The model is read from a folder, nothing is fetched.

Sources: Tang et al., DIFT, NeurIPS 2023; Zhang et al., A Tale of Two Features, NeurIPS 2023 (time
step, blocks, the empty prompt).
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import UInt8

from corr.semantic.features.extractor import Extractor, device_of, fit
from corr.semantic.features.grid import FeatureGrid


@dataclass
class StableDiffusionFeatures(Extractor):
    """Maps of the denoiser's up-sampling blocks as hyperpixels.

    A cell's centre is the middle of the square that it covers. The photo keeps its ratio of sides
    and is padded at the right and bottom.
    """

    model: str = ""  # folder in diffusers' layout: unet, vae, scheduler, text_encoder, tokenizer
    long_side: int = 768  # px, the longer side of the photo as the network sees it
    step: int = 100  # time step of the noise, 0 … 999
    blocks: str = "0:1"  # up-sampling blocks to concatenate, colons between, 0 … 3
    prompt: str = ""  # what the photo shows; empty as in the papers
    draws: int = 1  # drawings of noise that are averaged
    seed: int = 0  # of the noise, the same for every photo
    device: str = "auto"  # auto, cpu, cuda

    def __post_init__(self):
        if self.long_side < 64:
            raise ValueError(f"features.long_side must be at least 64, got {self.long_side}")
        if not 0 <= self.step <= 999:
            raise ValueError(f"features.step must lie in 0 … 999, got {self.step}")
        if not re.fullmatch(r"\d+(:\d+)*", self.blocks):
            raise ValueError(f"features.blocks must be numbers with colons, got {self.blocks}")
        if self.draws < 1:
            raise ValueError(f"features.draws must be 1 or more, got {self.draws}")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"features.device must be auto, cpu or cuda, got {self.device}")

    @property
    def _blocks(self) -> tuple[int, ...]:
        return tuple(sorted({int(b) for b in self.blocks.split(":")}))

    @cached_property
    def _network(self) -> Any:
        from corr.semantic.features.denoiser import load_denoiser

        return load_denoiser(self.model, self.prompt, self._blocks, device_of(self.device))

    def extract(self, rgb: UInt8[np.ndarray, "h w 3"]) -> FeatureGrid:
        """The blocks' maps at the finest one's cells."""
        import torch

        from corr.semantic.features.hyperpixels import Cells, hyperpixels

        network = self._network
        pixels, frame = fit(
            rgb, long_side=self.long_side, multiple=network.multiple,
            mean=(0.5,) * 3, std=(0.5,) * 3,
        )  # fmt: skip
        noise = torch.Generator().manual_seed(self.seed)
        with torch.inference_mode():
            maps = network.maps(pixels, self.step, self._blocks, draws=self.draws, generator=noise)
            strides = [pixels.shape[-1] // m.shape[-1] for m in maps]
            joined, cells = hyperpixels(maps, [Cells(s, s / 2) for s in strides])
        return frame.grid(joined[0].float().cpu().numpy(), stride=cells.stride, centre=cells.centre)
