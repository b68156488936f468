import pytest

from recon.workspace import LONGEST_JOB_NAME, _sweep_job, picture_stems


def test_pictures_of_photos_that_share_a_stem_keep_the_whole_name():
    names = ["a.jpg", "a.png", "b.jpg"]
    assert picture_stems(names) == {"a.jpg": "a.jpg", "a.png": "a.png", "b.jpg": "b"}


@pytest.mark.parametrize("dirname", ["", "seed=1", ",".join(f"option_{i}=1.5" for i in range(40))])
def test_sweep_jobs_have_short_names_of_their_own(dirname, monkeypatch):
    from types import SimpleNamespace

    from hydra.core.hydra_config import HydraConfig

    names = []
    for number in (0, 1):
        job = SimpleNamespace(override_dirname=dirname, num=number)
        hydra = SimpleNamespace(mode=SimpleNamespace(name="MULTIRUN"), job=job)
        monkeypatch.setattr(HydraConfig, "initialized", staticmethod(lambda: True))
        monkeypatch.setattr(HydraConfig, "get", staticmethod(lambda hydra=hydra: hydra))
        names.append(_sweep_job())
    assert names[0] != names[1]
    assert max(map(len, names)) < LONGEST_JOB_NAME + 15
