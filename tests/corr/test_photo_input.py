import logging

import numpy as np
import pytest
from PIL import Image as PilImage

from corr.errors import UserError
from corr.photo_files import decode
from corr.photo_input import list_photos, load_photos, prepare_photos

LOSSY = 12.0  # grey levels: mean error a JPEG, WebP or HEIC of a busy picture may have


@pytest.fixture
def scene(tmp_path, texture):
    """A folder with two different photos."""
    folder = tmp_path / "scene"
    folder.mkdir()
    for i in range(2):
        PilImage.fromarray(texture(313, 235, i)).save(folder / f"photo{i}.png")
    return folder


@pytest.fixture
def prepare(scene, tmp_path):
    return lambda **options: prepare_photos(scene, tmp_path / "out", **{"max_side": 200} | options)


# formats


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".png", ".tif", ".tiff", ".webp", ".bmp"])
def test_every_format_is_read(tmp_path, texture, suffix):
    rgb = texture(61, 47)
    path = tmp_path / f"a{suffix}"
    PilImage.fromarray(rgb).save(path)
    assert np.abs(decode(path).rgb.astype(int) - rgb).mean() < LOSSY


@pytest.mark.parametrize("suffix", [".heic", ".heif"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_heic_is_read_and_its_exif_turns_nothing(tmp_path, texture, suffix, orientation):
    """A HEIC turns its pixels by its own `irot` box, which the decoder applies: EXIF repeats it."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    rgb = texture(64, 48)
    exif = PilImage.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0xA405] = 30
    PilImage.fromarray(rgb).save(tmp_path / f"a{suffix}", quality=95, exif=exif)
    decoded = decode(tmp_path / f"a{suffix}")
    assert np.abs(decoded.rgb.astype(int) - rgb).mean() < LOSSY
    assert decoded.focal_prior_px == pytest.approx(30 * 80 / 43.2666, rel=1e-5)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "LA", "RGBA", "YCbCr"])
def test_every_pixel_mode_becomes_rgb(tmp_path, texture, mode):
    path = tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png")
    PilImage.fromarray(texture(61, 47)).convert(mode).save(path)
    decoded = decode(path)
    assert decoded.rgb.shape == (47, 61, 3)
    assert decoded.rgb.dtype == np.uint8
    assert decoded.opaque is None  # alpha is 255 everywhere: no mask


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_keeps_its_range(tmp_path, suffix):
    values = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    PilImage.fromarray(values).save(tmp_path / f"a{suffix}")
    rgb = decode(tmp_path / f"a{suffix}").rgb
    assert np.abs(rgb[..., 0] - values / 257.0).max() <= 1.0


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_colour_keeps_its_range(tmp_path, texture, suffix):
    import cv2

    rgb = texture(61, 47)
    cv2.imwrite(str(tmp_path / f"a{suffix}"), rgb[..., ::-1].astype(np.uint16) * 257)
    assert np.abs(decode(tmp_path / f"a{suffix}").rgb.astype(int) - rgb).max() <= 1


def test_float_tiff_between_0_and_1_is_read(tmp_path):
    values = np.linspace(0, 1, 64 * 48, dtype=np.float32).reshape(48, 64)
    PilImage.fromarray(values).save(tmp_path / "a.tif")
    assert np.abs(decode(tmp_path / "a.tif").rgb[..., 1] - values * 255).max() <= 1


def test_first_frame_of_an_animation_is_taken(tmp_path, texture):
    first, second = (PilImage.fromarray(texture(61, 47, i)) for i in range(2))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    assert np.array_equal(decode(tmp_path / "a.tif").rgb, np.asarray(first))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_exif_orientation_is_applied(tmp_path, orientation, suffix):
    upright = np.full((47, 61, 3), 90, np.uint8)
    upright[:20, :25] = (250, 60, 60)  # top left
    upright[30:, :10] = (30, 30, 240)  # bottom left
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = PilImage.Exif()
    exif[0x0112] = orientation
    stored = PilImage.fromarray(np.ascontiguousarray(undo(upright)))
    stored.save(tmp_path / f"a{suffix}", exif=exif)
    rgb = decode(tmp_path / f"a{suffix}").rgb
    assert rgb.shape == upright.shape
    assert np.abs(rgb.astype(int) - upright).mean() < LOSSY


def test_focal_of_a_rotated_photo_is_in_upright_pixels(scene, prepare, texture):
    exif = PilImage.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0xA405] = 30
    PilImage.fromarray(texture(360, 240, 5)).save(scene / "z.jpg", exif=exif)
    image = prepare().images[-1]
    assert (image.width, image.height) == (240, 360)
    assert image.focal_prior_px == pytest.approx(300)
    assert prepare().images[0].focal_prior_px is None


# working copies


@pytest.mark.parametrize("size", [(313, 235), (1023, 77), (50, 641), (200, 200), (37, 40)])
def test_working_copy_has_an_exact_coordinate_map(scene, prepare, texture, size):
    PilImage.fromarray(texture(*size, 7)).save(scene / "z.png")
    image = prepare().images[-1]
    assert (image.width, image.height) == size
    assert max(image.work_width, image.work_height) == min(200, max(size))
    assert image.load().shape == (image.work_height, image.work_width, 3)
    uv = np.random.default_rng(0).uniform([0, 0], size, (50, 2))
    assert np.allclose(image.to_original(image.to_work(uv)), uv, atol=1e-6)
    assert np.allclose(
        image.to_work(np.array([size], float)), [[image.work_width, image.work_height]]
    )


def test_downscaling_keeps_places(scene, prepare):
    """The centre of mass of a blob, in original pixels, is the same in the working copy."""
    v, u = np.mgrid[:641, :487] + 0.5
    centre = np.array([301.3, 177.8])
    blob = 250 * np.exp(-((u - centre[0]) ** 2 + (v - centre[1]) ** 2) / 2 / 20**2)
    PilImage.fromarray(blob.astype(np.uint8)).save(scene / "z.png")
    image = prepare(max_side=123).images[-1]
    grey = image.load()[..., 0].astype(np.float64)
    grey[grey < 8] = 0
    v, u = np.mgrid[: image.work_height, : image.work_width] + 0.5
    found = image.to_original(np.array([(u * grey).sum(), (v * grey).sum()]) / grey.sum())
    assert np.allclose(found, centre, atol=0.15)  # 8-bit rounding of a 20 px blob


def test_saved_set_can_be_moved(prepare, tmp_path):
    photos = prepare()
    assert load_photos(tmp_path / "out") == photos
    (tmp_path / "out").rename(tmp_path / "moved")
    moved = load_photos(tmp_path / "moved")
    assert moved.images[0].load().shape == (150, 200, 3)
    assert moved.images[0].path == photos.images[0].path


# masks


def test_alpha_becomes_a_mask_over_grey(scene, prepare, texture):
    rgba = np.dstack([texture(100, 80, 3), np.zeros((80, 100), np.uint8)])
    rgba[20:60, 30:90, 3] = 255
    PilImage.fromarray(rgba).save(scene / "z.png")
    image = prepare().images[-1]
    mask = image.load_mask()
    assert mask.shape == (80, 100)
    assert mask.sum() == 40 * 60
    assert mask[20, 30]
    assert (image.load()[~mask] == 128).all()


@pytest.mark.parametrize("name", ["photo0.png", "photo0.jpg", "photo0.png.png"])
@pytest.mark.parametrize("top", [1, 255])
def test_mask_of_the_folder_is_found_and_resized(scene, prepare, tmp_path, name, top, caplog):
    mask = np.zeros((470, 626), np.uint8)  # twice the photo's size
    mask[:235] = top
    (tmp_path / "masks").mkdir()
    PilImage.fromarray(mask).save(tmp_path / "masks" / name, quality=100)
    first, second = prepare(masks=tmp_path / "masks").images
    assert np.allclose(first.load_mask()[:74].mean(), 1)
    assert not first.load_mask()[76:].any()
    assert second.load_mask() is None
    assert "1 photos have no mask, e.g. photo1.png" in caplog.text


def test_mask_and_alpha_both_count(scene, prepare, tmp_path, texture):
    alpha = np.full((80, 100), 255, np.uint8)
    alpha[:, :50] = 0
    PilImage.fromarray(np.dstack([texture(100, 80, 3), alpha])).save(scene / "z.png")
    (tmp_path / "masks").mkdir()
    mask = np.zeros((80, 100), np.uint8)
    mask[:40] = 255
    PilImage.fromarray(mask).save(tmp_path / "masks" / "z.png")
    assert prepare(masks=tmp_path / "masks").images[-1].load_mask().sum() == 40 * 50


def test_usable_places_are_inside_and_unmasked(texture, as_image):
    mask = np.ones((47, 61), bool)
    mask[:, :30] = False
    image = as_image(texture(61, 47), "a", mask, scale=2)
    uv = np.array([[59.9, 5], [60.1, 5], [121.9, 93.9], [122.1, 5], [-0.1, 5], [100, 94.1]])
    assert image.usable_at(uv).tolist() == [False, True, True, False, False, False]


# choice of photos


def test_photos_are_listed_in_natural_order(tmp_path, caplog):
    for name in ("b10.jpg", "b9.JPG", "a.heic", ".hidden.jpg", "notes.txt", "B2.png"):
        (tmp_path / name).write_bytes(b"")
    with caplog.at_level(logging.INFO, "corr.photo_files"):
        assert [p.name for p in list_photos(tmp_path)] == ["a.heic", "B2.png", "b9.JPG", "b10.jpg"]
    assert "1 other files ignored (1 .txt)" in caplog.text


def test_names_choose_photos(scene, prepare, texture):
    PilImage.fromarray(texture(313, 235, 9)).save(scene / "other.png")
    assert [i.name for i in prepare(names=["photo1", "other.png"]).images] == [
        "other.png",
        "photo1.png",
    ]


def test_copies_are_left_out_also_when_saved_again(scene, prepare):
    original = PilImage.open(scene / "photo0.png")
    original.save(scene / "same.png")
    original.save(scene / "saved.jpg", quality=60)
    original.resize((235, 176)).save(scene / "small.webp", quality=90)
    photos = prepare()
    assert len(photos.images) == 2
    assert photos.left_out == dict.fromkeys(
        ["same.png", "saved.jpg", "small.webp"], "identical to photo0.png"
    )


def test_flat_photos_are_left_out(scene, prepare):
    rng = np.random.default_rng(0)
    wall = np.clip(rng.normal(180, 3, (480, 640, 3)), 0, 255).astype(np.uint8)
    PilImage.fromarray(wall).save(scene / "wall.png")
    ramp = np.repeat(np.linspace(0, 255, 640)[None], 480, 0).astype(np.uint8)
    PilImage.fromarray(ramp).save(scene / "sky.jpg")
    photos = prepare()
    assert [i.name for i in photos.images] == ["photo0.png", "photo1.png"]
    assert all("no texture" in photos.left_out[n] for n in ("wall.png", "sky.jpg"))


def test_unreadable_photos_are_left_out_with_a_reason(scene, prepare, texture):
    (scene / "text.jpg").write_text("not a photo")
    PilImage.fromarray(texture(313, 235, 4)).save(scene / "cut.jpg")
    (scene / "cut.jpg").write_bytes((scene / "cut.jpg").read_bytes()[:3000])
    PilImage.fromarray(np.zeros((60, 80, 4), np.uint8)).save(scene / "glass.png")
    left_out = prepare().left_out
    assert "not an image" in left_out["text.jpg"]
    assert "truncated" in left_out["cut.jpg"]
    assert left_out["glass.png"] == "fully transparent"


# refusals


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        list_photos(tmp_path / "nowhere")


def test_folder_without_photos_is_refused_with_what_is_there(tmp_path):
    (tmp_path / "a.cr2").write_bytes(b"")
    (tmp_path / "b.txt").write_bytes(b"")
    with pytest.raises(UserError, match=r"no photos in .*jpg jpeg png.*holds 2 other files.*\.cr2"):
        list_photos(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="images holds 1 photos: give that one"):
        list_photos(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(UserError, match=r"to use a video give its path: .*clip\.mp4"):
        list_photos(tmp_path)


def test_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.pdf is neither a photo"):
        list_photos(tmp_path / "a.pdf")


def test_one_photo_is_refused(scene, prepare):
    (scene / "photo1.png").unlink()
    with pytest.raises(UserError, match=r"only one photo in .*photo0\.png.*at least two"):
        prepare()
    assert len(prepare(at_least=1).images) == 1


def test_two_identical_photos_are_refused(scene, prepare):
    (scene / "photo1.png").write_bytes((scene / "photo0.png").read_bytes())
    with pytest.raises(UserError, match=r"1 of 2 photos .*photo1\.png: identical to photo0\.png"):
        prepare()


def test_too_few_readable_photos_are_refused_by_name(scene, prepare):
    (scene / "photo1.png").write_text("text")
    with pytest.raises(UserError, match=r"1 of 2 photos .*\(photo1\.png: not an image"):
        prepare()


def test_flat_photos_only_are_refused(tmp_path):
    for i in range(5):
        PilImage.new("RGB", (64, 48), (i, i, i)).save(tmp_path / f"{i}.png")
    with pytest.raises(UserError, match=r"0 of 5 photos .*0\.png: no texture.*and 2 more"):
        prepare_photos(tmp_path, tmp_path / "out", max_side=64)


def test_unknown_name_is_refused_with_the_names_there_are(prepare):
    with pytest.raises(UserError, match=r"no photo named nine .* photo0\.png, photo1\.png"):
        prepare(names=["nine"])


def test_missing_masks_are_refused(prepare, tmp_path):
    with pytest.raises(UserError, match=r"masks folder .* does not exist"):
        prepare(masks=tmp_path / "masks")
    (tmp_path / "masks").mkdir()
    with pytest.raises(UserError, match=r"no mask in .* fits.* named photo0\.png or photo0\.png\."):
        prepare(masks=tmp_path / "masks")


def test_mask_of_another_shape_is_refused(prepare, tmp_path):
    (tmp_path / "masks").mkdir()
    PilImage.new("L", (235, 313), 255).save(tmp_path / "masks" / "photo0.png")
    with pytest.raises(UserError, match=r"is 235x313, but photo0\.png is 313x235 when upright"):
        prepare(masks=tmp_path / "masks")


def test_tiny_max_side_is_refused(prepare):
    with pytest.raises(ValueError, match="max_side must be at least 32, got 8"):
        prepare(max_side=8)


@pytest.mark.data
def test_no_real_photo_is_taken_for_a_copy_or_for_flat(real_data, tmp_path):
    for name in ("temple-ring", "sacre-coeur"):
        source = real_data / "photos" / name / "images"
        assert not prepare_photos(source, tmp_path / name, max_side=400).left_out
