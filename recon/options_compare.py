"""The options of `python -m recon compare`."""

from dataclasses import dataclass, field


@dataclass
class CompareOptions:
    """What `recon compare` can be told."""

    runs: list[str] = field(default_factory=list)  # folders of runs or sweeps; typed without runs=
    out: str = "outputs/compare"  # folder for compare.csv, compare.json and compare.html


def register_compare() -> None:
    """Put the schema of `recon compare` where Hydra finds it."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="compare_schema", node=CompareOptions)
