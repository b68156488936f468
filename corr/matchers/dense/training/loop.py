"""`python -m corr train matcher=dense`: one stretch of training, resumable."""

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from corr.matchers.dense.data.ahead import BatchesAhead
from corr.matchers.dense.data.pairs import PairOptions, PairSource
from corr.matchers.dense.data.photos import load_photos
from corr.matchers.dense.losses import LossWeights, Truth, total_loss
from corr.matchers.dense.network import Config, DenseNetwork, count_parameters
from corr.matchers.dense.training.curves import append, draw
from corr.matchers.dense.training.options import TrainOptions
from corr.matchers.dense.training.state import TrainingState
from corr.matchers.dense.training.validation import validate
from corr.matchers.dense.weights_file import save_weights, start_from
from corr.matchers.xfeat import load_xfeat

LAST_RATE = 0.01  # of the peak
HELD_OUT = 1_000_003  # added to the seed for the validation's pairs


@dataclass
class Setting:
    """What stays fixed during a stretch."""

    options: TrainOptions
    device: torch.device
    bf16: bool
    out: Path


def train(options: TrainOptions) -> str:
    """Train for one stretch; returns the summary.

    The learning rate is a function of the spent share of the budget, so a stretch ends annealed
    whatever the machine's speed. A cut-off stretch goes on; after a finished one another begins.
    """
    setting = _setting(options)
    torch.manual_seed(options.seed)
    network = DenseNetwork(Config(), load_xfeat(options.xfeat).net)
    if options.start:
        start_from(network, Path(options.start))
    network = network.placed(setting.device)
    state = TrainingState(network, options.lr, options.weight_decay)
    resumed = state.resume(setting.out)
    if resumed and state.progress.finished:
        state.progress.stretch_start = state.progress.step
        state.progress.spent_min, state.progress.finished = 0.0, False
    setting.out.mkdir(parents=True, exist_ok=True)
    photos = load_photos(options.photos, setting.device)
    source = _source(options, options.seed, setting.device, photos)
    held_out = _source(options, options.seed + HELD_OUT, setting.device, photos)
    print(
        f"{count_parameters(network) / 1e6:.2f} M parameters on {setting.device}, "
        f"{0 if photos is None else len(photos)} photos, from step {state.progress.step}"
    )
    ahead = None
    if options.workers:
        ahead = BatchesAhead(
            source.options, options.seed, setting.device, options.photos, options.workers
        )
    try:
        Stretch(setting, state, source, held_out, ahead).run()
    finally:
        if ahead is not None:
            ahead.close()
    return _summary(state, setting.out)


def _setting(options: TrainOptions) -> Setting:
    name = options.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    torch.backends.cudnn.benchmark = device.type == "cuda"  # few sizes, many steps
    bf16 = options.precision == "bf16" or (options.precision == "auto" and device.type == "cuda")
    return Setting(options, device, bf16, Path(options.out).expanduser())


def _source(
    options: TrainOptions, seed: int, device: torch.device, photos: Tensor | None
) -> PairSource:
    size = 256 if device.type == "cuda" else 128
    made = PairOptions(
        flat_share=options.flat_share,
        textures=options.textures,
        texture_size=size,
        compiled=options.compile == "data",
    )
    return PairSource(made, seed, device, photos)


class Stretch:
    """The loop itself."""

    def __init__(
        self,
        setting: Setting,
        state: TrainingState,
        source: PairSource,
        held_out: PairSource,
        ahead: BatchesAhead | None = None,
    ):
        self.setting, self.state = setting, state
        self.source, self.held_out, self.ahead = source, held_out, ahead
        self.sizes: dict[int, tuple[int, int, int]] = {}  # of the batches asked for
        self.first: tuple[Tensor, Truth] | None = None
        self.weights = LossWeights()
        self.losses: dict[str, Tensor] = {}
        self.summed = 0
        self.began = time.monotonic()
        self.spent_before = state.progress.spent_min
        self.total_before = state.progress.total_min

    def run(self) -> None:
        """Steps until the budget is spent; checkpoints on the way and when interrupted."""
        options, progress = self.setting.options, self.state.progress
        if self.ahead is not None:  # the clock starts when the first batch is there
            self.first = self._batch(progress.step, 0.0)
            self.began = time.monotonic()
        saved = time.monotonic()
        with tqdm(total=1000, unit="‰", desc="training", mininterval=5) as bar:
            try:
                while (share := self.share()) < 1:
                    self._step(share)
                    bar.n = round(1000 * share)
                    bar.set_postfix_str(f"step {progress.step}", refresh=False)
                    bar.update(0)
                    if progress.step % options.validate_every == 0:
                        self._validate()
                    if time.monotonic() - saved > 60 * options.keep_every:
                        self._save()
                        saved = time.monotonic()
                bar.n = 1000
                progress.finished = True
            finally:
                self._save()
        if self.summed:
            self._validate()
        self._save()

    def share(self) -> float:
        """The spent share of the budget."""
        options, progress = self.setting.options, self.state.progress
        if not options.minutes:
            return (progress.step - progress.stretch_start) / options.steps
        now = (time.monotonic() - self.began) / 60
        progress.spent_min = self.spent_before + now
        return progress.spent_min / options.minutes

    def rate(self, share: float) -> float:
        """The learning rate at a share of the budget."""
        options = self.setting.options
        falling = 0.5 * (1 + math.cos(math.pi * share))
        rising = min(1.0, (share + 1e-3) / (options.warm_up + 1e-3))
        return options.lr * rising * (LAST_RATE + (1 - LAST_RATE) * falling)

    def _step(self, share: float) -> None:
        options, state = self.setting.options, self.state
        for group in state.optimiser.param_groups:
            group["lr"] = self.rate(share)
        images, truth = self._batch(state.progress.step, share)
        images = images.contiguous(memory_format=torch.channels_last)
        state.network.train()
        with torch.autocast(self.setting.device.type, torch.bfloat16, enabled=self.setting.bf16):
            prediction = state.network(images)
        loss, parts = total_loss(prediction, truth, self.weights)
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(state.parameters, options.clip)
        if torch.isfinite(norm):
            state.optimiser.step()
            state.follow(options.ema)
            self._sum({**parts, "loss": loss.detach(), "gradient": norm})
        else:
            state.progress.skipped += 1
            state.heal()
        state.progress.step += 1

    def _size(self, step: int, share: float) -> tuple[int, int, int]:
        """Pairs, width and height of a batch."""
        options = self.setting.options
        if share > 1 - options.large_share:
            return options.large_batch, options.large_width, options.large_height
        if step % 2:
            return options.batch, options.height, options.width
        return options.batch, options.width, options.height

    def _batch(self, step: int, share: float) -> tuple[Tensor, Truth]:
        if self.ahead is None:
            with torch.no_grad():
                return self.source.batch(step, *self._size(step, share))
        for k in range(step, step + 3 * len(self.ahead.asked)):
            if k not in self.sizes:
                self.sizes[k] = self._size(k, share)
                self.ahead.ask(k, *self.sizes[k])
        if self.first is not None:
            batch, self.first = self.first, None
            return batch
        return self.ahead.get(step)

    def _sum(self, parts: dict[str, Tensor]) -> None:
        for name, value in parts.items():
            self.losses[name] = self.losses.get(name, torch.zeros_like(value)) + value
        self.summed += 1

    def _validate(self) -> None:
        options, progress = self.setting.options, self.state.progress
        row: dict[str, float] = {
            "step": float(progress.step),
            "minutes": self.total_before + (time.monotonic() - self.began) / 60,
            "skipped": float(progress.skipped),
        }
        row |= {k: float(v) / max(self.summed, 1) for k, v in self.losses.items()}
        self.losses, self.summed = {}, 0
        with self.state.averaged() as network:
            row |= validate(
                network,
                self.held_out,
                pairs=options.validation_pairs,
                width=options.width,
                height=options.height,
                autocast=self.setting.bf16,
            )
        append(self.setting.out / "log.csv", row)
        draw(self.setting.out / "log.csv", self.setting.out / "curves.png")
        tqdm.write(
            f"step {progress.step} ({row['minutes']:.1f} min): loss {row.get('loss', 0):.3f}, "
            f"EPE median {row['epe_median']:.2f} px, coarse {row['coarse_median']:.1f} px, "
            f"PCK@1/3/5 {row['pck1']:.3f}/{row['pck3']:.3f}/{row['pck5']:.3f}, "
            f"ECE {row['ece']:.3f}, chi2 {row['chi2']:.2f}, skipped {progress.skipped}"
        )

    def _save(self) -> None:
        progress = self.state.progress
        progress.total_min = self.total_before + (time.monotonic() - self.began) / 60
        options = {"options": asdict(self.setting.options)}
        self.state.save(self.setting.out, options)
        about = {**options, "progress": asdict(progress)}
        config = self.state.network.config
        save_weights(self.state.average, config, about, self.setting.out / "dense.safetensors")


def _summary(state: TrainingState, out: Path) -> str:
    progress = state.progress
    return (
        f"{progress.step} steps in {progress.total_min:.1f} min ({progress.skipped} skipped); "
        f"weights in {out / 'dense.safetensors'}, curves in {out / 'curves.png'}"
    )
