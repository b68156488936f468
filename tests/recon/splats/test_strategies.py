"""What grows splats: refused without CUDA, and our splats as gsplat's strategies see them."""

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from corr.errors import UserError
from corr.geometry import Camera, Rigid3
from recon.scene import View
from recon.splats.densify import RATES, parts, pulled
from recon.splats.gaussians import Gaussians
from recon.splats.optimiser import Optimiser
from recon.splats.parameters import POLISH, SplatParameters
from recon.splats.strategies import Edgs, check_strategy, make_strategy, scene_radius
from recon.splats.team import Team

N = 7
KEYS = {"means", "scales", "quats", "opacities", "sh0", "shN"}


@dataclass
class Fake:
    """Keeps gsplat's contract: replaces every tensor inside its optimiser, in this case by one
    with its first splat copied."""

    options: dict = field(default_factory=dict)
    seen: list = field(default_factory=list)
    grow_grad2d: float = 2e-4

    def check_sanity(self, params, optimizers):
        assert params.keys() == optimizers.keys()
        assert all(len(o.param_groups) == 1 for o in optimizers.values())

    def initialize_state(self, scene_scale=1.0):
        return {"scene_scale": scene_scale, "count": None}

    def step_post_backward(self, params, optimizers, state, step, info, **more):
        self.seen.append((step, more))
        state["count"] = torch.full((len(params["means"]),), float(step))
        if self.grow_grad2d == np.inf:
            return
        for name in list(params):
            old, optimizer = params[name], optimizers[name]
            new = torch.nn.Parameter(torch.cat([old, old[:1]]).detach())
            moments = optimizer.state.pop(old)
            for key, value in moments.items():
                if key != "step":
                    moments[key] = torch.cat([value, torch.zeros_like(value[:1])])
            optimizer.param_groups[0]["params"] = [new]
            optimizer.state[new] = moments
            params[name] = new


@pytest.fixture
def gsplat(monkeypatch):
    """A module that stands for gsplat's strategies; a list of those that were made."""
    made = []

    def make(**options):
        made.append(Fake(options))
        return made[-1]

    module = ModuleType("gsplat.strategy")
    module.DefaultStrategy = module.MCMCStrategy = make
    monkeypatch.setitem(sys.modules, "gsplat", ModuleType("gsplat"))
    monkeypatch.setitem(sys.modules, "gsplat.strategy", module)
    return made


def splats(degree=1):
    gen = torch.Generator().manual_seed(0)
    shapes = [(N, 3), (N, 3), (N, 4), (N,), (N, (degree + 1) ** 2, 3)]
    return Gaussians(*(torch.randn(*s, generator=gen) for s in shapes))


def views():
    camera = Camera.simple(61, 45, 50.0)
    return tuple(View(str(x), camera, Rigid3(np.eye(3), np.array([-x, 0, 0]))) for x in (0.0, 4.0))


def made(name, degree=1, **options):
    options = Optimiser(strategy=name, **options)
    parameters = SplatParameters(splats(degree), options)
    return parameters, make_strategy(options, parameters, views(), pixel=0.01, seed=0)


def record(gradient, width, height, radius=3):
    """What gsplat tells of a drawing, after its gradients are known."""
    places = torch.zeros_like(gradient, requires_grad=True)
    places.grad = gradient
    radii = torch.full(gradient.shape, radius, dtype=torch.int32)
    return {"means2d": places, "radii": radii, "width": width, "height": height, "n_cameras": 1}


def one_step(parameters, strategy, step):
    raw = record(torch.ones(1, N, 2), 61, 45)
    strategy.set_rates(step - 1, polishing=False)
    strategy.before_backward(SimpleNamespace(raw=raw))
    for leaf in parameters.leaves.values():
        leaf.grad = torch.full_like(leaf, 0.1)
    parameters.step()
    strategy.after_step(step, polishing=False)


@pytest.mark.parametrize("name", ["densify", "mcmc"])
def test_growing_is_refused_without_cuda(name):
    with pytest.raises(UserError, match=f"strategy={name} is gsplat's and needs CUDA.*=edgs"):
        check_strategy(Optimiser(strategy=name), "cpu")


def test_edgs_runs_anywhere():
    check_strategy(Optimiser(), "cpu")
    assert isinstance(made("edgs")[1], Edgs)


def test_scene_radius_is_that_of_3dgs():
    assert scene_radius(views()) == pytest.approx(1.1 * 2.0)


@pytest.mark.parametrize("name", ["densify", "mcmc"])
@pytest.mark.parametrize("degree", [0, 1])
def test_splats_that_were_added_are_trained_on_with_the_moments_of_the_old(gsplat, name, degree):
    parameters, strategy = made(name, degree, iterations=1000)
    before = parameters.leaves["means"].detach().clone()
    one_step(parameters, strategy, 1)
    assert len(parameters) == N + 1
    assert parameters.gaussians().sh.shape == (N + 1, (degree + 1) ** 2, 3)
    assert not torch.equal(parameters.leaves["means"][:N].detach(), before)
    for group in parameters.adam.param_groups:
        leaf = parameters.leaves[group["name"]]
        assert group["params"][0] is leaf
        assert float(parameters.adam.state[leaf]["exp_avg"][:N].abs().min()) > 0
        assert float(parameters.adam.state[leaf]["exp_avg"][N:].abs().max()) == 0
    assert len(parameters.adam.state) == len(parameters.adam.param_groups)  # none of the old ones
    one_step(parameters, strategy, 2)
    assert len(parameters) == N + 2
    assert [step for step, _ in gsplat[0].seen] == [0, 1]  # gsplat counts from 0


def test_tensors_go_under_the_names_of_gsplat():
    tensors, optimisers = parts(made("edgs")[0])
    assert set(tensors) == set(optimisers) == KEYS
    assert set(parts(made("edgs", degree=0)[0])[0]) == KEYS - {"shN"}


def test_timing_follows_a_short_run_and_is_that_of_gsplat_for_a_long_one(gsplat):
    made("densify", iterations=30000)
    made("mcmc", iterations=30000, max_splats=123)
    made("densify", iterations=60)
    long, mcmc, short = (fake.options for fake in gsplat)
    every = {"refine_start_iter": 500, "refine_every": 100}
    assert long == {**every, "refine_stop_iter": 15000, "reset_every": 3000}
    assert mcmc == {**every, "refine_stop_iter": 25000, "cap_max": 123}
    assert short["refine_start_iter"] == 6
    assert short["refine_every"] == 10


def test_rates_are_those_of_3dgs(gsplat):
    parameters, strategy = made("densify", iterations=100)

    def rates(step, polishing=False):
        strategy.set_rates(step, polishing=polishing)
        return {g["name"]: g["lr"] for g in parameters.adam.param_groups}

    start, end = rates(0), rates(100)
    assert start == pytest.approx({**RATES, "means": 1.6e-4 * 2.2})
    assert end == pytest.approx({**RATES, "means": 1.6e-6 * 2.2})
    assert rates(100, True) == pytest.approx({k: POLISH * v for k, v in end.items()})


def test_densify_stops_growing_at_the_cap(gsplat):
    parameters, strategy = made("densify", max_splats=N + 1)
    for step in (1, 2, 3):
        one_step(parameters, strategy, step)
    assert len(parameters) == N + 1


def test_mcmc_is_told_the_rate_of_the_positions_and_adds_its_penalty(gsplat):
    parameters, strategy = made("mcmc", iterations=100)
    one_step(parameters, strategy, 1)
    assert gsplat[0].seen[0][1] == {"lr": pytest.approx(1.6e-4 * 2.2)}
    opacity = parameters.leaves["logit_opacities"].sigmoid().mean()
    scale = parameters.leaves["log_scales"].exp().mean()
    assert float(strategy.penalty().detach()) == pytest.approx(float(0.01 * (opacity + scale)))


def test_running_sums_are_saved_and_come_back(gsplat):
    parameters, strategy = made("densify")
    one_step(parameters, strategy, 1)
    saved = strategy.state()
    one_step(parameters, strategy, 2)
    assert float(saved["count"][0]) == 0
    strategy.restore(saved)
    assert float(strategy.running["count"][0]) == 0
    strategy.running["count"] += 5
    assert float(saved["count"][0]) == 0


def test_nothing_is_grown_in_the_polish(gsplat):
    parameters, strategy = made("densify")
    strategy.after_step(1, polishing=True)
    assert len(parameters) == N
    assert gsplat[0].seen == []


def test_picture_of_another_renderer_is_refused(gsplat):
    with pytest.raises(ValueError, match="drawn by gsplat"):
        made("densify")[1].before_backward(SimpleNamespace(raw=None))


def gsplats_sum(info):
    """What gsplat 1.5.3 adds to its running gradient of each splat, from a record."""
    gradient = info["means2d"].grad.clone()
    gradient[..., 0] *= info["width"] / 2 * info["n_cameras"]
    gradient[..., 1] *= info["height"] / 2 * info["n_cameras"]
    seen = (info["radii"] > 0).all(-1)
    return (gradient.norm(dim=-1) * seen).sum(0), seen.sum(0)


def test_pull_of_several_photos_is_the_sum_of_each_ones_whatever_their_size():
    gen = torch.Generator().manual_seed(1)
    gradients = [torch.randn(1, N, 2, generator=gen) for _ in range(2)]
    alone = [record(g, w, h) for g, (w, h) in zip(gradients, [(61, 45), (40, 80)], strict=True)]
    alone[1]["radii"][0, 2] = 0  # not drawn there
    halves = [{**r} for r in alone]  # the loss of a step is the mean of its photos'
    for half, gradient in zip(halves, gradients, strict=True):
        half["means2d"] = record(gradient / 2, 1, 1)["means2d"]
    pull, count = gsplats_sum(pulled(halves, Team()))
    expected = [gsplats_sum(r) for r in alone]
    torch.testing.assert_close(pull, expected[0][0] + expected[1][0])
    assert count.tolist() == [2, 2, 1] + [2] * (N - 3)


def test_pull_of_one_photo_is_gsplats_own():
    one = record(torch.randn(1, N, 2, generator=torch.Generator().manual_seed(2)), 61, 45)
    assert torch.equal(gsplats_sum(pulled([one], Team()))[0], gsplats_sum(one)[0])


def test_rates_of_a_batch_grow_with_its_root(gsplat):
    parameters, strategy = made("mcmc", iterations=100, batch=4)
    strategy.set_rates(0, polishing=False)
    rates = {g["name"]: g["lr"] for g in parameters.adam.param_groups}
    assert rates == pytest.approx({k: 2 * v for k, v in {**RATES, "means": 1.6e-4 * 2.2}.items()})
    one_step(parameters, strategy, 1)
    assert gsplat[0].seen[0][1] == {"lr": pytest.approx(2 * 1.6e-4 * 2.2)}
