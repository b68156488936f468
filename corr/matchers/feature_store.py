"""Features of photos, computed once while memory lasts, and forgotten when no pair needs them."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from corr.matchers.feature_files import FeatureFiles

Key = tuple[int, int, int]  # photo, quarter turns, tile (-1 = whole)


@dataclass
class FeatureStore:
    """Least recently used features go first when there are more than `limit_mb`.

    Args:
        pairs: All pairs that are to come; a photo's features are dropped after its last one.
        limit_mb: MB of features to keep; those of the pair at hand are always kept.
        files: Where features are also kept on disk.
    """

    pairs: Sequence[tuple[int, int]]
    limit_mb: float
    files: "FeatureFiles | None" = None

    def __post_init__(self):
        self._left = Counter(i for pair in self.pairs for i in pair)
        self._kept: OrderedDict[Key, Any] = OrderedDict()
        self._bytes: dict[Key, int] = {}

    def get(self, key: Key, compute: Callable[[], Any]) -> Any:
        """The features of a key, computed if they are not at hand."""
        if key not in self._kept:
            self._kept[key] = self.files.get(key, compute) if self.files else compute()
            self._bytes[key] = size_bytes(self._kept[key])
            self._shrink()
        self._kept.move_to_end(key)
        return self._kept[key]

    def done(self, pair: tuple[int, int]) -> None:
        """This pair is matched."""
        for photo in pair:
            self._left[photo] -= 1
            if not self._left[photo]:
                for key in [k for k in self._kept if k[0] == photo]:
                    self._drop(key)

    def _shrink(self) -> None:
        while sum(self._bytes.values()) > self.limit_mb * 2**20 and len(self._kept) > 2:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        del self._kept[key], self._bytes[key]


def size_bytes(value: Any) -> int:
    """Bytes of all arrays and tensors in a dataclass, dictionary, list or tuple."""
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if is_dataclass(value):
        return sum(size_bytes(getattr(value, f.name)) for f in fields(value))
    if isinstance(value, dict):
        return sum(map(size_bytes, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(size_bytes, value))
    return 0
