"""Who may import whom: `corr` is the ground floor; `recon` and `registration` never meet."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "corr": {"corr"},
    "recon": {"corr", "recon"},
    "registration": {"corr", "registration"},
}
FORBIDDEN = {"torchvision", "torchaudio", "lpips", "timm"}
SOURCES = [p for package in ALLOWED for p in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_imports_only_what_its_layer_may(path):
    names = imported(path)
    package = path.relative_to(ROOT).parts[0]
    assert names & set(ALLOWED) <= ALLOWED[package]
    assert not names & FORBIDDEN


def test_no_forbidden_package_is_installed_or_required():
    import importlib.metadata

    requires = importlib.metadata.requires("few-view-recon") or []
    assert not [r for r in requires if r.split("[")[0].split(">")[0].strip() in FORBIDDEN]
    installed = {d.metadata["Name"].lower() for d in importlib.metadata.distributions()}
    assert not installed & FORBIDDEN


def test_every_imported_package_is_declared():
    """What happens to be installed here need not be so elsewhere."""
    import importlib.metadata
    import re
    import sys

    declared = {
        re.split(r"[\[<>=!~;\s(]", r)[0].lower().replace("_", "-")
        for r in importlib.metadata.requires("few-view-recon") or []
    }
    provided = importlib.metadata.packages_distributions()
    names = set().union(*map(imported, SOURCES)) - set(ALLOWED) - set(sys.stdlib_module_names)
    for name in sorted(names):
        givers = {d.lower().replace("_", "-") for d in provided.get(name, [name])}
        known = declared | {"omegaconf", "markupsafe", "llvmlite"}  # of hydra-core, jinja2, numba
        assert givers & known, f"{name} is imported but not required"
