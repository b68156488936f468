from pathlib import Path

import pytest

from corr import folders
from corr.folders import LONGEST_JOB_NAME, job_folder, sweep_job


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


def test_every_job_of_a_sweep_has_its_folder_but_shards_share_one(monkeypatch):
    assert job_folder(Path("out")) == Path("out")
    monkeypatch.setattr(folders, "sweep_job", lambda: "1_seed=3")
    assert job_folder(Path("out")) == Path("out") / "1_seed=3"
    assert job_folder(Path("out"), "2/4") == Path("out")
