import numpy as np
import pytest
import torch

from recon import image_metrics
from recon.splats.losses import (
    StackedLoss,
    Target,
    photometric_loss,
    photometric_loss_reference,
    ssim_map,
)

# float32 kernels against float64: sums of 11 x 11 x 3 terms near one, then a mean.
VALUE_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-5  # relative to the largest entry: every entry carries 1 / pixels
SIZE = (45, 61)  # h, w


def pair(seed=0, noise=0.15):
    gen = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 8, 10, generator=gen)
    photo = torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic").clamp(0, 1)[0]
    photo = photo.permute(1, 2, 0).contiguous()
    return (photo + noise * torch.randn(*SIZE, 3, generator=gen)).contiguous(), photo


def weights(kind):
    if kind == "none":
        return None
    weight = torch.ones(SIZE)
    weight[:20, :13] = 0
    weight[-3:] = 0
    return weight


def both(render, photo, weight, loss=photometric_loss):
    x = render.clone().requires_grad_()
    value = loss(x, Target(photo, weight))
    value.backward()
    slow = render.double().requires_grad_()
    wanted = photometric_loss_reference(slow, Target(photo, weight))
    wanted.backward()
    return value.detach(), x.grad, wanted.detach(), slow.grad


@pytest.mark.parametrize("loss", [photometric_loss, StackedLoss.apply])  # of CPU and of CUDA
@pytest.mark.parametrize("weight", ["none", "part"])
def test_fast_losses_equal_the_reference(weight, loss):
    value, gradient, wanted, slow = both(*pair(), weights(weight), loss)
    assert float(value) == pytest.approx(float(wanted), abs=VALUE_TOLERANCE)
    assert (gradient - slow).abs().max() < GRADIENT_TOLERANCE * slow.abs().max()
    assert slow.abs().max() > 0


@pytest.mark.parametrize("loss", [photometric_loss, StackedLoss.apply])
def test_fast_losses_equal_the_reference_on_flat_and_saturated_pictures(loss):
    """Without variance SSIM is held up by its two constants alone."""
    render, photo = torch.full((*SIZE, 3), 0.5), torch.full((*SIZE, 3), 1.0)
    value, gradient, wanted, slow = both(render, photo, None, loss)
    assert float(value) == pytest.approx(float(wanted), abs=VALUE_TOLERANCE)
    # blurred squares cancel: float32 leaves 1e-7 of variance beside the constant 9e-4
    assert (gradient - slow).abs().max() < 1e-3 * slow.abs().max()


def test_gradient_is_scaled_by_what_comes_behind():
    render, photo = pair()
    x = render.clone().requires_grad_()
    (3.0 * photometric_loss(x, Target(photo))).backward()
    assert torch.allclose(x.grad, 3.0 * both(render, photo, None)[1])


def test_equal_pictures_cost_nothing():
    _, photo = pair()
    value = photometric_loss(photo.clone(), Target(photo))
    assert abs(float(value)) < 1e-6


def test_ssim_agrees_with_the_metric_in_the_interior():
    render, photo = (x.clamp(0, 1).double() for x in pair())
    inner = ssim_map(render, photo)[5:-5, 5:-5]
    wanted = image_metrics.ssim(render.numpy(), photo.numpy())
    assert float(inner.mean()) == pytest.approx(wanted, abs=1e-9)  # both float64


def test_ignored_pixels_receive_no_l1_gradient():
    render, photo = pair()
    weight = weights("part")
    gradient = both(render, photo, weight)[1]
    far = gradient[:15, :8]  # more than the window's radius inside the ignored block
    assert float(far.abs().max()) == 0
    assert float(gradient[30, 30].abs().max()) > 0


@pytest.mark.parametrize("loss", [photometric_loss, StackedLoss.apply])
def test_wholly_masked_picture_costs_and_pulls_nothing(loss):
    value, gradient, wanted, slow = both(*pair(), torch.zeros(SIZE), loss)
    assert float(value) == float(wanted) == 0
    assert float(gradient.abs().max()) == float(slow.abs().max()) == 0


def test_loss_has_the_same_bits_on_any_number_of_threads(threads):
    results = []
    for count in (1, 2):
        threads(count)
        value, gradient, *_ = both(*pair(3), weights("part"))
        results.append((float(value), gradient.numpy()))
    assert results[0][0] == results[1][0]
    assert np.array_equal(results[0][1], results[1][1])


def test_cached_photo_side_gives_the_same_value_again():
    render, photo = pair()
    target = Target(photo, weights("part"))
    first = float(photometric_loss(render, target))
    assert target.cache
    assert float(photometric_loss(render, target)) == first
