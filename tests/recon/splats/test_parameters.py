import pytest
import torch

from recon.splats.gaussians import Gaussians
from recon.splats.optimiser import Optimiser
from recon.splats.parameters import LATE_DECAY, POLISH, POSITION_DECAY, SplatParameters

N = 11


def splats(seed=0, n=N):
    gen = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=gen)

    return Gaussians(normal(n, 3), normal(n, 3), normal(n, 4), normal(n), normal(n, 4, 3))


def set_gradients(parameters, seed, keep=None):
    """Gradients that depend on the splat's place among all N."""
    gen = torch.Generator().manual_seed(seed)
    for name, leaf in parameters.leaves.items():
        gradient = torch.randn(N, *leaf.shape[1:], generator=gen)
        parameters.leaves[name].grad = gradient if keep is None else gradient[keep]


def stepped(count=3, **options):
    parameters = SplatParameters(splats(), Optimiser(**options))
    for i in range(count):
        parameters.set_rates(0.1, 0.01, polishing=False)
        set_gradients(parameters, i)
        parameters.step()
    return parameters


def moments(parameters):
    return {
        name: {k: v.clone() for k, v in parameters.adam.state[leaf].items()}
        for name, leaf in parameters.leaves.items()
    }


def test_pruning_keeps_the_moments_of_the_survivors():
    parameters, twin = stepped(), stepped()
    before = moments(parameters)
    keep = torch.ones(N, dtype=torch.bool)
    keep[[0, 4, 7]] = False
    with torch.no_grad():
        parameters.leaves["logit_opacities"][~keep] = -9.0
        parameters.leaves["logit_opacities"][keep] += 9.0
        twin.leaves["logit_opacities"] += 9.0
    parameters.decay_and_prune(0.0)
    assert len(parameters) == N - 3
    for name, state in moments(parameters).items():
        assert torch.equal(state["exp_avg"], before[name]["exp_avg"][keep])
        assert torch.equal(state["exp_avg_sq"], before[name]["exp_avg_sq"][keep])
        assert float(state["step"]) == 3
    for p, index in ((parameters, keep), (twin, None)):
        p.set_rates(0.2, 0.01, polishing=False)
        set_gradients(p, 9, index)
        p.step()
    for name, leaf in parameters.leaves.items():
        # vector and scalar code may round differently, by a unit in the last place
        torch.testing.assert_close(leaf, twin.leaves[name][keep], rtol=1e-6, atol=1e-7)


def test_decay_lowers_every_logit_by_exactly_its_share():
    parameters = SplatParameters(splats(), Optimiser(decay_total=0.75, prune_opacity=0.0))
    before = parameters.leaves["logit_opacities"].detach().clone()
    others = {k: v.detach().clone() for k, v in parameters.leaves.items()}
    parameters.decay_and_prune(0.25)
    assert torch.equal(parameters.leaves["logit_opacities"].detach(), before - 0.75 * 0.25)
    for name in ("means", "log_scales", "quats_wxyz", "sh_base", "sh_rest"):
        assert torch.equal(parameters.leaves[name].detach(), others[name])


def test_faint_splats_are_dropped_after_the_decay_not_before():
    parameters = SplatParameters(splats(), Optimiser(decay_total=1.0, prune_opacity=0.5))
    with torch.no_grad():
        parameters.leaves["logit_opacities"][:] = 1.0
        parameters.leaves["logit_opacities"][3] = 0.4
    parameters.decay_and_prune(0.5)
    assert len(parameters) == N - 1


def test_gradients_that_are_not_finite_do_not_spread():
    parameters, twin = stepped(), stepped()
    for p in (parameters, twin):
        p.set_rates(0.2, 0.01, polishing=False)
        set_gradients(p, 9)
    parameters.leaves["means"].grad[2, 1] = float("nan")
    parameters.leaves["logit_opacities"].grad[5] = float("inf")
    parameters.step()
    twin.step()
    assert bool(parameters.gaussians().is_finite().all())
    clean = torch.ones(N, dtype=torch.bool)
    clean[[2, 5]] = False
    for name, leaf in parameters.leaves.items():
        assert torch.equal(leaf[clean], twin.leaves[name][clean]), name
    assert all(torch.isfinite(s["exp_avg"]).all() for s in moments(parameters).values())


def test_splats_that_are_not_finite_are_dropped():
    parameters = stepped(prune_opacity=0.0)
    with torch.no_grad():
        parameters.leaves["sh_rest"][6, 2, 1] = float("nan")
    parameters.decay_and_prune(0.0)
    assert len(parameters) == N - 1
    assert bool(parameters.gaussians().is_finite().all())


def test_restored_state_gives_the_same_bits_in_the_next_step():
    parameters = stepped()
    saved = parameters.state()
    results = []
    other = SplatParameters(splats(5, n=3), Optimiser())
    other.restore(saved)
    for p in (parameters, other):
        p.set_rates(0.2, 0.01, polishing=False)
        set_gradients(p, 9)
        p.step()
        results.append({k: v.detach().clone() for k, v in p.leaves.items()})
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name


def test_saved_state_is_not_touched_by_later_steps():
    parameters = stepped()
    saved = parameters.state()
    copy = {k: v.clone() for k, v in saved["leaves"].items()}
    first = saved["moments"]["means"]["exp_avg"].clone()
    set_gradients(parameters, 9)
    parameters.step()
    parameters.decay_and_prune(0.5)
    assert all(torch.equal(saved["leaves"][k], v) for k, v in copy.items())
    assert torch.equal(saved["moments"]["means"]["exp_avg"], first)


def test_rates_follow_the_schedule():
    options = Optimiser(position_px=0.5, colour_rate=0.01)
    parameters = SplatParameters(splats(), options)

    def rates(progress, polishing=False):
        parameters.set_rates(progress, 0.02, polishing=polishing)
        return {g["name"]: g["lr"] for g in parameters.adam.param_groups}

    start, end, polish = rates(0.0), rates(1.0), rates(1.0, True)
    assert start["means"] == pytest.approx(0.5 * 0.02)
    assert end["means"] == pytest.approx(0.5 * 0.02 * POSITION_DECAY)
    assert end["log_scales"] == pytest.approx(options.scale_rate * LATE_DECAY)
    assert start["sh_rest"] == pytest.approx(start["sh_base"] / 10)
    assert polish == pytest.approx({k: POLISH * v for k, v in end.items()})


def test_degree_zero_splats_have_nothing_in_the_higher_bands():
    gaussians = splats()
    gaussians.sh = gaussians.sh[:, :1]
    parameters = SplatParameters(gaussians, Optimiser())
    assert "sh_rest" not in {g["name"] for g in parameters.adam.param_groups}
    set_gradients(parameters, 0)
    parameters.set_rates(0.0, 0.01, polishing=False)
    parameters.step()
    parameters.restore(parameters.state())
    assert parameters.gaussians().sh_degree == 0
