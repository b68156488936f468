"""The authors' checkpoint and transformers' file, both to the fused network.

Layouts: `eloftr_outdoor.ckpt` of github.com/zju3dv/EfficientLoFTR (a state dict, names with
`matcher.` in front) and `model.safetensors` of huggingface.co/zju-community/efficientloftr, which
hold the same weights under other names.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from corr.errors import UserError
from corr.matchers.checkpoint import read_state
from corr.matchers.efficient_loftr.attention import ROUNDS
from corr.matchers.efficient_loftr.backbone import STAGES

State = dict[str, Tensor]
EPSILON = 1e-5  # of the batch norms

_BRANCH = {
    "rbr_dense.conv": "conv1.conv", "rbr_dense.bn": "conv1.norm", "rbr_1x1.conv": "conv2.conv",
    "rbr_1x1.bn": "conv2.norm", "rbr_identity": "identity", "rbr_reparam": "fused",
}  # fmt: skip
_ATTENTION = {
    "aggregate": "aggregation.q_aggregation", "norm1": "aggregation.norm",
    "q_proj": "attention.q_proj", "k_proj": "attention.k_proj", "v_proj": "attention.v_proj",
    "merge": "attention.o_proj", "mlp.0": "mlp.fc1", "mlp.2": "mlp.fc2", "norm2": "mlp.layer_norm",
}  # fmt: skip
_FUSION = {
    "layer3_outconv": "out_conv",
    "layer2_outconv": "out_conv_layers.0.out_conv1",
    "layer2_outconv2.0": "out_conv_layers.0.out_conv2",
    "layer2_outconv2.1": "out_conv_layers.0.batch_norm",
    "layer2_outconv2.3": "out_conv_layers.0.out_conv3",
    "layer1_outconv": "out_conv_layers.1.out_conv1",
    "layer1_outconv2.0": "out_conv_layers.1.out_conv2",
    "layer1_outconv2.1": "out_conv_layers.1.batch_norm",
    "layer1_outconv2.3": "out_conv_layers.1.out_conv3",
}
_OWN_ATTENTION = {
    "aggregation.q_aggregation": "aggregate", "aggregation.norm": "norm_tokens",
    "attention.q_proj": "query", "attention.k_proj": "key", "attention.v_proj": "value",
    "attention.o_proj": "merge", "mlp.fc1": "join", "mlp.fc2": "reduce",
    "mlp.layer_norm": "norm_out",
}  # fmt: skip


def read_weights(file: Path) -> State:
    """The weights of a file of either layout, by transformers' names.

    Raises:
        UserError: It cannot be read, or holds other weights.
    """
    state = read_state(file)
    if any("loftr_coarse." in name for name in state):
        state = {to_transformers(name.removeprefix("matcher.")): v for name, v in state.items()}
    elif not any(name.startswith("efficientloftr.") for name in state):
        raise UserError(
            f"{file} does not hold the weights of EfficientLoFTR; expected the names of "
            "eloftr_outdoor.ckpt or of transformers' model.safetensors"
        )
    return state


def to_transformers(name: str) -> str:
    """The authors' name of a tensor as transformers calls it; unknown ones as they are."""
    if m := re.fullmatch(
        r"backbone\.layer(\d)\.(?:(\d+)\.)?(rbr_\w+(?:\.conv|\.bn)?)\.(\w+)", name
    ):
        stage, block, branch, what = m.groups()
        if branch in _BRANCH:
            inner = f"stages.{stage}.blocks.{block or 0}.{_BRANCH[branch]}.{what}"
            return f"efficientloftr.backbone.{inner}"
    if m := re.fullmatch(r"loftr_coarse\.layers\.(\d+)\.(\w+(?:\.\d)?)\.(\w+)", name):
        layer, part, what = int(m[1]), m[2], m[3]
        if part in _ATTENTION:
            kind = "cross_attention" if layer % 2 else "self_attention"
            inner = f"layers.{layer // 2}.{kind}.{_ATTENTION[part]}.{what}"
            return f"efficientloftr.local_feature_transformer.{inner}"
    if m := re.fullmatch(r"fine_preprocess\.(\w+(?:\.\d)?)\.(\w+)", name):
        part, what = m.groups()
        if part in _FUSION:
            return f"refinement_layer.{_FUSION[part]}.{what}"
    return name


def fused(state: Mapping[str, Tensor], file: Path) -> State:
    """The weights by our names, branches and batch norms folded into their convolutions.

    Args:
        state: By transformers' names.
        file: Where they are from, for the error.

    Raises:
        UserError: Something is missing or left over.
    """
    taken = _Taken(dict(state), file)
    own: State = {}
    layer = 0
    for s, stage in enumerate(STAGES):
        for k in range(stage.layers):
            block = f"efficientloftr.backbone.stages.{s}.blocks.{k}"
            kernel, bias = taken.layer(block)
            own[f"backbone.layers.{layer}.weight"] = kernel
            own[f"backbone.layers.{layer}.bias"] = bias
            layer += 1
    for r in range(ROUNDS):
        for kind, where in (("self", "around"), ("cross", "across")):
            outer = f"efficientloftr.local_feature_transformer.layers.{r}.{kind}_attention"
            for part, mine in _OWN_ATTENTION.items():
                for what in ("weight", "bias") if "norm" in mine else ("weight",):
                    name = f"transformer.{where}.{r}.{mine}.{what}"
                    own[name] = taken(f"{outer}.{part}.{what}")
    own["fusion.deep.weight"] = taken("refinement_layer.out_conv.weight")
    for k, mine in enumerate(("at_quarter", "at_half")):
        outer, mine = f"refinement_layer.out_conv_layers.{k}", f"fusion.{mine}"
        own[f"{mine}.widen.weight"] = taken(f"{outer}.out_conv1.weight")
        kernel = taken(f"{outer}.out_conv2.weight")
        scale, own[f"{mine}.mix.bias"] = taken.norm(f"{outer}.batch_norm")
        own[f"{mine}.mix.weight"] = kernel * scale[:, None, None, None]
        own[f"{mine}.narrow.weight"] = taken(f"{outer}.out_conv3.weight")
    taken.nothing_left()
    return own


class _Taken:
    """Tensors of a state, each taken once."""

    def __init__(self, state: State, file: Path):
        self._state, self._file = state, file

    def __call__(self, name: str) -> Tensor:
        if name not in self._state:
            raise self._misfit(f"{name} is missing")
        return self._state.pop(name)

    def layer(self, block: str) -> tuple[Tensor, Tensor]:
        """One layer of the backbone as the one kernel and bias that it is."""
        if f"{block}.fused.weight" in self._state:
            return self(f"{block}.fused.weight"), self(f"{block}.fused.bias")
        dense = self(f"{block}.conv1.conv.weight")
        scale, bias = self.norm(f"{block}.conv1.norm")
        kernel = dense * scale[:, None, None, None]
        point = self(f"{block}.conv2.conv.weight")
        scale, shift = self.norm(f"{block}.conv2.norm")
        kernel, bias = (
            kernel + F.pad(point * scale[:, None, None, None], (1, 1, 1, 1)),
            bias + shift,
        )
        if f"{block}.identity.weight" in self._state:
            scale, shift = self.norm(f"{block}.identity")
            kernel[:, :, 1, 1] += torch.diag(scale)
            bias = bias + shift
        return kernel, bias

    def norm(self, name: str) -> tuple[Tensor, Tensor]:
        """A batch norm as scale and shift."""
        self._state.pop(f"{name}.num_batches_tracked", None)
        scale = self(f"{name}.weight") / (self(f"{name}.running_var") + EPSILON).sqrt()
        return scale, self(f"{name}.bias") - self(f"{name}.running_mean") * scale

    def nothing_left(self) -> None:
        if self._state:
            raise self._misfit(f"{next(iter(self._state))} is unknown")

    def _misfit(self, reason: str) -> UserError:
        return UserError(f"{self._file} does not hold the weights of EfficientLoFTR ({reason})")
