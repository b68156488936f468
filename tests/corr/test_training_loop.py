"""The training loop: a cut-off training ends as one in a single go."""

import numpy as np
import pytest
import torch

from corr.errors import UserError
from corr.training.loop import Course, TrainingLoop

COURSE = Course(steps=17, lr=0.05, every=5)


class Stop(Exception):
    """The machine went down."""


def trained(folder, course=COURSE, stop_at=None, options=None):
    """Weights of a fit to a step's own random rows, and what the validations were told."""
    torch.manual_seed(3)
    network, told = torch.nn.Linear(3, 1), []
    loop = TrainingLoop(network, course, folder, options or {"lr": 0.05})

    def gradients(step):
        if step == stop_at:
            raise Stop
        if step % 4 == 3:
            return None
        rows = torch.from_numpy(np.random.default_rng(step).normal(size=(7, 3)).astype(np.float32))
        loss = ((network(rows)[:, 0] - rows.sum(1)) ** 2).mean()
        loss.backward()
        return float(loss.detach())

    def validated(step, loss, seconds):
        assert not network.training
        told.append((step, loss))

    loop.run(gradients, validated)
    return loop.first, network.weight.detach().clone(), told


def test_continued_training_ends_as_one_in_a_single_go(tmp_path):
    (tmp_path / "once").mkdir()
    first, whole, told = trained(tmp_path / "once")
    assert first == 0
    assert [step for step, _ in told] == [5, 10, 15, 17]
    with pytest.raises(Stop):
        trained(tmp_path, stop_at=12)
    first, continued, rest = trained(tmp_path)
    assert first == 10
    assert torch.equal(continued, whole)
    assert rest == told[2:]


def test_finished_training_has_nothing_left_to_do(tmp_path):
    _, whole, _ = trained(tmp_path)
    first, again, told = trained(tmp_path)
    assert (first, told) == (COURSE.steps, [])
    assert torch.equal(again, whole)


def test_checkpoint_of_other_options_is_refused(tmp_path):
    trained(tmp_path)
    with pytest.raises(UserError, match=r"checkpoint\.pt was made with lr=0\.05, not 0\.1; choose"):
        trained(tmp_path, options={"lr": 0.1})


def test_steps_without_a_loss_are_no_steps_of_the_optimiser(tmp_path):
    _, _, told = trained(tmp_path, Course(steps=4, lr=0.05, every=1))
    assert np.isnan(told[3][1])
    assert np.isfinite([loss for _, loss in told[:3]]).all()


def test_rate_warms_up_and_falls_to_a_hundredth():
    course = Course(steps=3001, lr=0.2, every=1)
    rates = [course.rate(step) for step in range(3001)]
    assert rates[0] == pytest.approx(0.002)
    assert max(rates) == pytest.approx(0.2, rel=0.01)
    assert rates[-1] == pytest.approx(0.002, rel=0.01)
