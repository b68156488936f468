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
from recon.splats.densify import RATES, parts
from recon.splats.gaussians import Gaussians
from recon.splats.optimiser import Optimiser
from recon.splats.parameters import POLISH, SplatParameters
from recon.splats.strategies import Edgs, check_strategy, make_strategy, scene_radius

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


def one_step(parameters, strategy, step):
    drawn = SimpleNamespace(raw={"means2d": torch.zeros(1, N, 2, requires_grad=True) * 1})
    strategy.set_rates(step - 1, polishing=False)
    strategy.before_backward(drawn)
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
