import numpy as np
import torch

from corr.matchers.dense.data import pack_photos
from corr.matchers.dense.data.pack_photos import HEIGHT, ORIGINS, WIDTH, Origin, pack
from corr.matchers.dense.data.photos import load_photos


def test_packed_photos_come_back_and_what_is_missing_is_named(tmp_path, monkeypatch):
    absent = Origin("no_such_package", "no-such-package", "MIT", "pictures", ("a.png",))
    some = Origin("skimage", "scikit-image", "CC0", "data", ("camera.png", "coffee.png", "no.png"))
    monkeypatch.setattr(pack_photos, "ORIGINS", (some, absent))
    said = pack(tmp_path / "photos.npz")
    assert said.startswith("2 pictures in ")
    assert "left out: scikit-image: no.png" in said
    assert "left out: no-such-package: a.png" in said
    photos = load_photos(str(tmp_path / "photos.npz"), torch.device("cpu"))
    assert photos.shape == (2, 3, HEIGHT, WIDTH)
    assert 0.2 < float(photos.mean()) < 0.8
    grey, colour = photos
    assert (grey[0] - grey[1]).abs().max() < 0.03
    assert (colour[0] - colour[2]).abs().mean() > 0.1
    with np.load(tmp_path / "photos.npz") as packed:
        assert all("(CC0)" in name for name in packed["names"])


def test_nothing_is_written_where_no_package_is_installed(tmp_path, monkeypatch):
    absent = Origin("no_such_package", "no-such-package", "MIT", "pictures", ("a.png",))
    monkeypatch.setattr(pack_photos, "ORIGINS", (absent,))
    assert "nothing was written" in pack(tmp_path / "photos.npz")
    assert not (tmp_path / "photos.npz").exists()


def test_every_origin_states_a_licence():
    assert all(origin.licence and origin.files for origin in ORIGINS)
