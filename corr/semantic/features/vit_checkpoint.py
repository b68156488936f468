"""Checkpoints of DINO, DINOv2 and DINOv3: where they lie, what shape they have, other spellings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from corr.errors import UserError
from corr.semantic.features.vit import VisionTransformer, ViTShape
from corr.weights import hub_folder

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Release:
    """A released model: the file it comes as, and its licence."""

    pattern: str  # of the file name in torch hub's cache
    licence: str
    page: str


_DINO = "https://github.com/facebookresearch/dino"
_DINOV2 = "https://github.com/facebookresearch/dinov2"
_DINOV3 = "https://github.com/facebookresearch/dinov3"
RELEASES = {
    "dino_vits16": Release("dino_deitsmall16_pretrain.pth", "Apache-2.0", _DINO),
    "dino_vits8": Release("dino_deitsmall8_pretrain.pth", "Apache-2.0", _DINO),
    "dino_vitb16": Release("dino_vitbase16_pretrain.pth", "Apache-2.0", _DINO),
    "dino_vitb8": Release("dino_vitbase8_pretrain.pth", "Apache-2.0", _DINO),
    **{
        f"dinov2_vit{s}14{r}": Release(f"dinov2_vit{s}14{f}_pretrain.pth", "Apache-2.0", _DINOV2)
        for s in "sblg"
        for r, f in (("", ""), ("_reg", "_reg4"))
    },
    **{
        f"dinov3_vit{s}16": Release(
            f"dinov3_vit{s}16_pretrain_lvd1689m*.pth", "DINOv3 License", _DINOV3
        )
        for s in ("s", "splus", "b", "l", "hplus")
    },
}


def load_vit(model: str, path: str = "") -> VisionTransformer:
    """A released model, ready to answer.

    Args:
        model: A name of `RELEASES`, e.g. dinov2_vitb14.
        path: Its checkpoint (.pth or .safetensors); empty = torch hub's cache.

    Raises:
        UserError: The checkpoint is not there, or is no such transformer.
    """
    if model not in RELEASES:
        raise UserError(f"features.model must be one of {', '.join(RELEASES)}, got {model}")
    file = find_checkpoint(model, path)
    state = official_names(read_state(file))
    try:
        network = VisionTransformer(shape_of(state))
        network.load_state_dict(state)
    except (KeyError, RuntimeError, ValueError) as error:
        text = str(error).splitlines()[0]
        raise UserError(f"{file} is no checkpoint of {model} ({text})") from None
    return network.eval().requires_grad_(False)


def find_checkpoint(model: str, path: str = "") -> Path:
    """Where a model's checkpoint lies.

    Raises:
        UserError: It is not there.
    """
    release = RELEASES[model]
    if path:
        given = Path(path).expanduser()
        if not given.is_file():
            raise UserError(f"features.weights={path} does not exist; get it from {release.page}")
        return given
    found = sorted(hub_folder().glob(release.pattern))
    if not found:
        raise UserError(
            f"{release.pattern} is not in {hub_folder()}; get it from {release.page} (licence: "
            f"{release.licence}) and put it there or name it as features.weights=…"
        )
    return found[0]


def read_state(file: Path) -> State:
    """The tensors of a checkpoint, by name.

    Raises:
        UserError: It cannot be read as one.
    """
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise their own kinds for a damaged file
        raise UserError(f"{file} cannot be read as a checkpoint ({error})") from None
    for wrapper in ("teacher", "model", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{file} holds no table of tensors")
    return {k.removeprefix("module.").removeprefix("backbone."): v for k, v in state.items()}


def shape_of(state: State) -> ViTShape:
    """The network's shape, from its tensors.

    Raises:
        KeyError: A tensor that every such network has is missing.
    """
    width, _, patch, _ = state["patch_embed.proj.weight"].shape
    depth = 1 + max(int(m[1]) for k in state if (m := re.match(r"blocks\.(\d+)\.", k)))
    name = "storage_tokens" if "storage_tokens" in state else "register_tokens"
    registers = state[name].shape[1] if name in state else 0
    rotary = "pos_embed" not in state
    gated = "w12" if "blocks.0.mlp.w12.weight" in state else ""
    gated = "w1w2" if "blocks.0.mlp.w1.weight" in state else gated
    hidden = state["blocks.0.mlp.w3.weight" if gated else "blocks.0.mlp.fc2.weight"].shape[1]
    periods = state.get("rope_embed.periods")
    # Heads are 64 wide in every release; a rotary checkpoint says so by its number of periods.
    head = 64 if periods is None else 4 * len(periods)
    return ViTShape(
        width, depth, width // head, patch, hidden, registers,
        positions=0 if rotary else state["pos_embed"].shape[1],
        gated=gated,
        scaled="blocks.0.ls1.gamma" in state,
        masked_bias="blocks.0.attn.qkv.bias_mask" in state,
        mask_token="mask_token" in state,
        register_name=name,
        eps=1e-5 if rotary else 1e-6,
        offset=0.0 if registers else 0.1,
        antialias=bool(registers),
    )  # fmt: skip


_RENAMED = (
    (r"^(model\.)?embeddings\.patch_embeddings\.(projection\.)?", "patch_embed.proj."),
    (r"^(model\.)?embeddings\.cls_token", "cls_token"),
    (r"^(model\.)?embeddings\.mask_token", "mask_token"),
    (r"^(model\.)?embeddings\.position_embeddings", "pos_embed"),
    (r"^(model\.)?(encoder\.)?layers?\.", "blocks."),
    (r"attention\.output\.dense\.", "attn.proj."),
    (r"attention\.o_proj\.", "attn.proj."),
    (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"),
    (r"mlp\.weights_in\.", "mlp.w12."),
    (r"mlp\.weights_out\.", "mlp.w3."),
    (r"mlp\.gate_proj\.", "mlp.w1."),
    (r"mlp\.up_proj\.", "mlp.fc1."),
    (r"mlp\.down_proj\.", "mlp.fc2."),
    (r"^(layernorm|norm)\.", "norm."),
)


def official_names(state: State) -> dict[str, Tensor]:
    """The tensors under the official names; checkpoints in transformers' spelling are renamed."""
    if "patch_embed.proj.weight" in state:
        return dict(state)
    rotary = not any("position_embeddings" in k for k in state)
    gated = any("gate_proj" in k for k in state)
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        for pattern, new in _RENAMED:
            name = re.sub(pattern, new, name)
        name = re.sub(
            r"embeddings\.register_tokens", "storage_tokens" if rotary else "register_tokens", name
        )
        if gated:
            name = name.replace("mlp.fc1.", "mlp.w2.").replace("mlp.fc2.", "mlp.w3.")
        renamed[re.sub(r"^model\.", "", name)] = value
    if "mask_token" in renamed:
        renamed["mask_token"] = renamed["mask_token"].reshape(1, -1)
    renamed = _joined(renamed)
    if rotary and "rope_embed.periods" not in renamed:
        quarter = torch.arange(16)
        renamed["rope_embed.periods"] = 100.0 ** (2 * quarter / 32)
    return renamed


def _joined(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values, stored apart, as one; an absent bias of the keys is zero."""
    patterns = (
        r"(blocks\.\d+\.)attention\.attention\.query\.weight",
        r"(blocks\.\d+\.)attention\.q_proj\.weight",
    )
    for name in list(state):
        match = next((m for p in patterns if (m := re.fullmatch(p, name))), None)
        if match is None:
            continue
        parts = [name.replace("query", n).replace("q_proj", f"{n[0]}_proj").removesuffix(".weight")
                 for n in ("query", "key", "value")]  # fmt: skip
        weights = [state.pop(f"{p}.weight") for p in parts]
        biases = [state.pop(f"{p}.bias", torch.zeros(len(w)))
                  for p, w in zip(parts, weights, strict=True)]  # fmt: skip
        state[f"{match[1]}attn.qkv.weight"] = torch.cat(weights)
        state[f"{match[1]}attn.qkv.bias"] = torch.cat(biases)
    return state
