"""How fast the training is on a device: `python -m corr.matchers.dense.training.timing batch=24 …`.

Takes the options of `corr train`; prints seconds per batch of data, forward and backward pass, the
rate in pairs per second, peak memory and the kernels that take longest.
"""

import sys
import time
from dataclasses import fields

import torch

from corr.matchers.dense.data.photos import load_photos
from corr.matchers.dense.losses import LossWeights, total_loss
from corr.matchers.dense.network import Config, DenseNetwork
from corr.matchers.dense.training.loop import _setting, _source
from corr.matchers.dense.training.options import TrainOptions
from corr.matchers.dense.training.state import TrainingState
from corr.matchers.xfeat import load_xfeat

ROUNDS = 4


def measure(options: TrainOptions) -> None:
    """Print the table."""
    setting = _setting(options)
    device = setting.device
    network = DenseNetwork(Config(), load_xfeat(options.xfeat).net)
    network = network.placed(device)
    network.train()
    state = TrainingState(network, options.lr, options.weight_decay)
    source = _source(options, options.seed, device, load_photos(options.photos, device))
    sizes = (
        (options.batch, options.width, options.height),
        (options.large_batch, options.large_width, options.large_height),
    )
    for batch, width, height in sizes:
        spent = {"data": 0.0, "forward": 0.0, "backward": 0.0, "update": 0.0}
        for k in range(ROUNDS + 2):
            if k == 2:
                spent = dict.fromkeys(spent, 0.0)
            _one_step(setting, state, source, k, (batch, width, height), spent)
        total = sum(spent.values()) / ROUNDS
        memory = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
        parts = ", ".join(f"{name} {1000 * s / ROUNDS:.0f} ms" for name, s in spent.items())
        print(
            f"{batch} pairs {width}x{height}: {parts}; {1 / total:.2f} steps/s, "
            f"{batch / total:.0f} pairs/s, data {batch * ROUNDS / spent['data']:.0f} pairs/s, "
            f"peak {memory:.1f} GiB",
            flush=True,
        )
    if device.type == "cuda":
        _profile(setting, state, source, sizes[0])


def _one_step(setting, state: TrainingState, source, k: int, size: tuple, spent: dict) -> None:
    device = setting.device

    def lap(name: str, since: float) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        spent[name] += now - since
        return now

    clock = time.perf_counter()
    with torch.no_grad():
        images, truth = source.batch(k, *size)
    images = images.contiguous(memory_format=torch.channels_last)
    clock = lap("data", clock)
    with torch.autocast(device.type, torch.bfloat16, enabled=setting.bf16):
        prediction = state.network(images)
    loss, _ = total_loss(prediction, truth, LossWeights())
    clock = lap("forward", clock)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    clock = lap("backward", clock)
    torch.nn.utils.clip_grad_norm_(state.parameters, 1.0)
    state.optimiser.step()
    state.follow(0.99)
    lap("update", clock)


def _profile(setting, state: TrainingState, source, size: tuple) -> None:
    from torch.profiler import ProfilerActivity, profile

    spent = dict.fromkeys(("data", "forward", "backward", "update"), 0.0)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        _one_step(setting, state, source, 9, size, spent)
    longest = sorted(found.key_averages(), key=lambda e: -e.self_device_time_total)
    for event in longest[:24]:
        ms = event.self_device_time_total / 1000
        print(f"{ms:8.2f} ms {event.count:6d} times  {event.key[:90]}")


if __name__ == "__main__":
    given = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    kinds = {f.name: f.type for f in fields(TrainOptions)}
    cast = {"int": int, "float": float, "str": str, int: int, float: float, str: str}
    values = {name: cast[kinds[name]](text) for name, text in given.items()}  # type: ignore[index]
    measure(TrainOptions(**{"matcher": "dense", **values}))
