import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from recon.image_metrics import colour_corrected, psnr, ssim, ssim_map


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:67, :53]
    smooth = 0.5 + 0.3 * np.sin(x / 7.0)[..., None] * np.cos(y / 5.0)[..., None] * [1, 0.5, -1]
    return smooth, np.clip(smooth + 0.08 * rng.normal(size=smooth.shape), 0, 1)


def test_psnr_equals_scikit_image(pictures):
    a, b = pictures
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1.0), abs=1e-9)


def test_psnr_of_a_constant_offset():
    a = np.full((20, 13, 3), 0.25)
    assert psnr(a, a + 0.1) == pytest.approx(20.0)
    assert psnr(a, a) == float("inf")


def test_psnr_counts_masked_pixels_only(pictures):
    a, b = pictures
    mask = np.zeros(a.shape[:2], bool)
    mask[3:9, 4:30] = True
    broken = b.copy()
    broken[~mask] = 0
    assert psnr(a, broken, mask) == psnr(a, b, mask)
    with pytest.raises(ValueError, match="at least one pixel"):
        psnr(a, b, mask & False)


def test_bytes_and_floats_score_alike(pictures):
    a, b = ((255 * p).astype(np.uint8) for p in pictures)
    assert psnr(a, b) == pytest.approx(psnr(a / 255.0, b / 255.0))
    assert ssim(a, b / 255.0) == pytest.approx(ssim(a, b))


def test_ssim_equals_scikit_image(pictures):
    a, b = pictures
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected, full = structural_similarity(
        a, b, data_range=1.0, channel_axis=-1, full=True, **options
    )
    assert ssim(a, b) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-9)
    assert ssim(a, b) == pytest.approx(expected, abs=1e-9)
    assert ssim_map(a, b).shape == (57, 43, 3)
    assert ssim(a, a) == pytest.approx(1.0)


def test_ssim_refuses_what_is_smaller_than_its_window():
    with pytest.raises(ValueError, match="11x11 or larger"):
        ssim(np.zeros((10, 30)), np.zeros((10, 30)))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="same shape"):
        psnr(np.zeros((10, 30)), np.zeros((10, 31)))


def test_colour_correction_undoes_an_affine_change(pictures):
    photo = 0.1 + 0.8 * pictures[0]
    mix = np.array([[0.8, 0.05, 0], [0, 0.9, 0.03], [0.02, 0, 0.7]])
    render = photo @ mix + 0.05
    assert psnr(render, photo) < 25
    assert psnr(colour_corrected(render, photo), photo) > 40


def test_colour_correction_keeps_a_constant_picture():
    grey = np.full((30, 30, 3), 0.4)
    np.testing.assert_allclose(colour_corrected(grey, grey), grey, atol=1e-6)
