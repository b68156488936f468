import pytest

from corr.folders import LONGEST_JOB_NAME, sweep_job


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
        names.append(sweep_job())
    assert names[0] != names[1]
    assert max(map(len, names)) < LONGEST_JOB_NAME + 15
