"""`method=distill` and `method=asic`: no test photo, no key-point, interrupted as in one go."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PilImage

import corr.semantic.features.cache as cache_module
import corr.semantic.learned.desk as desk_module
from corr.errors import UserError
from corr.options import EvalOptions
from corr.semantic.datasets.frames import read_sequences
from corr.semantic.evaluate import evaluate
from corr.semantic.features.fusion import FusionFeatures
from corr.semantic.features.lite import LiteFeatures
from corr.semantic.features.xfeat import XFeatFeatures
from corr.semantic.learned import asic_page
from corr.semantic.learned import train as train_module
from corr.semantic.learned.asic import Asic
from corr.semantic.learned.distill import Distill
from corr.semantic.learned.files import load_trained
from corr.semantic.learned.train import train
from corr.semantic.learned.unseen import photo_digest
from corr.training.log import read_rows
from corr.training.loop import TrainingLoop
from corr.training_options import TrainOptions

pytestmark = [pytest.mark.weights, pytest.mark.usefixtures("one_thread")]
FEATURES = LiteFeatures(long_side=224)
# Not the student's cells: the teachers see the photos at another size.
TEACHERS = FusionFeatures(weight=0.2, lite=LiteFeatures(long_side=160),
                          xfeat=XFeatFeatures(long_side=128))  # fmt: skip
KINDS = {
    "distill": lambda frames: Distill(
        frames=str(frames), steps=2, every=1, rank=2, teachers=TEACHERS
    ),
    "asic": lambda frames: Asic(frames=str(frames), steps=4, every=2, drawn=2, hidden=16),
}


@pytest.fixture(scope="module", autouse=True)
def few_walks():
    """k-CyPCK has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asic_page, "WALKS", 3)
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


def options(root, cache, out, method) -> TrainOptions:
    return TrainOptions(benchmark="spair71k", data=str(root), size="small", features=FEATURES,
                        cache=str(cache), out=str(out), method=method)  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def trained(request, tiny_root, cache, tmp_path_factory):
    """The method's name, the folder of an undisturbed training, and the photos opened for it.

    Key-points are taken from the training split first: the methods must do without.
    """
    out, opened = tmp_path_factory.mktemp("train") / "run", []
    read, pairs_of = cache_module.read_photo, train_module.read_pairs

    def spy(photo):
        opened.append(photo.name.removesuffix("|mirror"))
        return read(photo)

    def nameless(benchmark, root, *, split, **more):
        pairs = pairs_of(benchmark, root, split=split, **more)
        return without_points(pairs) if split == "trn" else pairs

    with pytest.MonkeyPatch.context() as patch:
        for module in (cache_module, desk_module):
            patch.setattr(module, "read_photo", spy)
        patch.setattr(train_module, "read_pairs", nameless)
        text = train(options(tiny_root, cache, out, KINDS[request.param](tiny_root / "Frames")))
    assert text.startswith(f"method={request.param} features=lite: PCK@0.1 per image on val ")
    return request.param, out, set(opened)


def without_points(pairs):
    """The same photos and pairs with every key-point in one corner."""

    def bare(side):
        return replace(side, uv=np.zeros_like(side.uv), all_ids=(), all_uv=np.zeros((0, 2)))

    return replace(pairs, pairs=tuple(
        replace(p, source=bare(p.source), target=bare(p.target)) for p in pairs.pairs
    ))  # fmt: skip


def test_no_test_photo_is_opened(trained, tiny_root, tiny):
    _, out, opened = trained
    assert not opened & set(tiny.photos)
    _, about = load_trained(out / "head.safetensors")
    tested = {photo_digest(side.path) for side in tiny.photos.values()}
    frames = [f.side.path for s in read_sequences(tiny_root / "Frames") for f in s.frames]
    assert set(map(photo_digest, frames)) < set(about["photos"])
    assert not tested & set(about["photos"])


def test_training_leaves_its_curve_and_what_there_is_to_see(trained):
    name, out, _ = trained
    rows = read_rows(out / "curve.csv")
    assert [r["step"] for r in rows] == [0, *(k * rows[-1]["step"] / 2 for k in (1, 2))]
    assert (out / "curve.svg").is_file()
    network, _ = load_trained(out / "head.safetensors")
    if name == "distill":
        assert all(float(a.up.abs().max()) > 0 for a in network.adapters.values())
    else:
        assert rows[-1]["loss"] < rows[1]["loss"]
        cycles = json.loads((out / "cycles.json").read_text())
        assert {(c["k"], c["features"]) for c in cycles["cycles"]} == {
            (k, f) for k in (2, 3) for f in ("frozen", "with places")
        }
        assert "k-CyPCK" in (out / "collection.html").read_text()
        picture = np.asarray(PilImage.open(out / "collection.png"))
        assert picture.std() > 10


def test_interrupted_training_ends_as_one_in_a_single_go(trained, tiny_root, cache, tmp_path):
    name, whole, _ = trained
    method = KINDS[name](tiny_root / "Frames")
    step = TrainingLoop._step

    def stops(self, number, gradients):
        if number == self.course.steps - 1:  # one validation is behind it
            raise KeyboardInterrupt
        return step(self, number, gradients)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingLoop, "_step", stops)
        with pytest.raises(KeyboardInterrupt):
            train(options(tiny_root, cache, tmp_path / "run", method))
    train(options(tiny_root, cache, tmp_path / "run", method))
    ours, theirs = (load_trained(f / "head.safetensors")[0].state_dict()
                    for f in (tmp_path / "run", whole))  # fmt: skip
    for key, value in ours.items():
        np.testing.assert_array_equal(value.numpy(), theirs[key].numpy(), err_msg=key)


def test_trained_network_is_evaluated(trained, tiny_root, cache, tmp_path):
    name, out, _ = trained
    given = {"benchmark": "spair71k", "data": str(tiny_root), "size": "small", "every": 9,
             "features": FEATURES, "cache": str(cache), "worst": 0}  # fmt: skip
    head = str(out / "head.safetensors")
    text = evaluate(EvalOptions(**given, out=str(tmp_path / name), head=head))
    assert f"head={head}" in text
    plain = evaluate(EvalOptions(**given, out=str(tmp_path / "plain")))
    assert text != plain


def test_frame_that_is_a_test_photo_is_refused(tiny_root, tiny, cache, tmp_path):
    shutil.copytree(tiny_root / "Frames", tmp_path / "Frames")
    stolen = next(iter(tiny.photos.values())).path
    shutil.copy(stolen, tmp_path / "Frames" / "cow" / "001" / "03.jpg")
    for name, method in KINDS.items():
        with pytest.raises(UserError, match="1 frames are photos of the test split"):
            train(options(tiny_root, cache, tmp_path / name, method(tmp_path / "Frames")))


@pytest.mark.parametrize("kind", [Distill, Asic])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, r"method\.steps must be 1 or more, got 0"),
        ({"lr": 0.0}, r"method\.lr must be positive, got 0"),
        ({"partners": 0}, r"method\.partners must be 1 or more, got 0"),
        ({"photos": -1.0}, r"method\.photos .*must be 0 or more"),
    ],
)
def test_options_are_refused(kind, changes, message):
    with pytest.raises(ValueError, match=message):
        kind(frames="x", **changes)


def test_methods_need_something_to_learn_from():
    with pytest.raises(ValueError, match=r"method\.frames must name a folder of multi-view"):
        Asic()
    with pytest.raises(ValueError, match=r"photos=0 leaves nothing to learn from without"):
        Distill(photos=0.0)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "bar"), [(Distill, 5), (Asic, 3)])
def test_trained_network_finds_more_on_cows_that_it_never_saw(tmp_path, kind, bar):
    """The issue's bars: points of PCK@0.1 over the frozen features, on held-out pairs."""
    from corr.semantic.datasets.tiny import write_tiny

    write_tiny(tmp_path / "cows")
    given = {"benchmark": "spair71k", "data": str(tmp_path / "cows"), "size": "small",
             "cache": str(tmp_path / "cache")}  # fmt: skip
    train(TrainOptions(**given, out=str(tmp_path / "run"),
                       method=kind(frames=str(tmp_path / "cows" / "Frames"))))  # fmt: skip
    scores = []
    for name, head in (("plain", ""), ("head", str(tmp_path / "run" / "head.safetensors"))):
        evaluate(EvalOptions(**given, worst=0, out=str(tmp_path / name), head=head))
        metrics = json.loads((tmp_path / name / "metrics.json").read_text())
        at = metrics["alphas"].index(0.1)
        scores.append(100 * metrics["averages"][at]["per_image"])
    assert scores[1] > scores[0] + bar
