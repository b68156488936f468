"""Small pictures: what the tests look at does not need many pixels."""

import pytest

from registration import pictures


@pytest.fixture(scope="session", autouse=True)
def small_panels():
    """Views a quarter as wide as those of a real run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "PANEL", (141, 117))
        yield
