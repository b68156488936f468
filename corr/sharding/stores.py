"""Where finished shards are kept: a file per shard anywhere, or a file per item on this machine."""

import hashlib
import json
import logging
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from corr.errors import UserError
from corr.store import write_atomic

log = logging.getLogger(__name__)


class Store(ABC):
    """Keeps shards; what it holds is complete."""

    @abstractmethod
    def holds(self, items: Sequence[Any]) -> bool:
        """Whether this shard is finished."""

    @abstractmethod
    def keep(self, items: Sequence[Any], payloads: Sequence[bytes]) -> None:
        """Keep a finished shard; cut short, it is not held."""


class ItemFiles(Store):
    """A file per item; those of a shard appear one after the other, each complete."""

    def __init__(self, path: Callable[[Any], Path]):
        self.path = path

    def holds(self, items: Sequence[Any]) -> bool:
        """Whether every item has its file."""
        return all(self.path(item).is_file() for item in items)

    def keep(self, items: Sequence[Any], payloads: Sequence[bytes]) -> None:
        """Write a payload per item."""
        for item, payload in zip(items, payloads, strict=True):
            write_atomic(self.path(item), payload)


class ShardFolder(Store):
    """A file per shard, named by what it depends on, in a folder or at any fsspec URL.

    A file begins with a line of JSON: a checksum and the payloads' lengths. One that does not fit
    its checksum is taken for absent.

    Args:
        place: Folder or URL.
        key: A name for a shard that changes with everything that its payloads depend on.

    Raises:
        UserError: Nothing can be kept there.
    """

    def __init__(self, place: str | Path, key: Callable[[Sequence[Any]], str]):
        from fsspec.core import url_to_fs

        self.place, self.key = str(place), key
        self._paths: dict[int, tuple[Sequence[Any], str]] = {}
        try:
            self.fs, self.root = url_to_fs(self.place, use_listings_cache=False)
            self.fs.makedirs(self.root, exist_ok=True)
        except (ImportError, OSError, ValueError) as error:
            raise UserError(self._unusable(error)) from None

    def holds(self, items: Sequence[Any]) -> bool:
        """Whether the shard's file is there and undamaged."""
        return self.read(items) is not None

    def keep(self, items: Sequence[Any], payloads: Sequence[bytes]) -> None:
        """Write the shard's file under a name of its own and move it into place.

        Raises:
            UserError: It cannot be written.
        """
        body = b"".join(payloads)
        head = {"sha256": _sha256(body), "lengths": [len(p) for p in payloads]}
        path = self._path(items)
        temporary = f"{path}.{uuid.uuid4().hex}.tmp"
        try:
            self.fs.pipe_file(temporary, json.dumps(head).encode() + b"\n" + body)
            self.fs.mv(temporary, path)
        except OSError as error:
            raise UserError(self._unusable(error)) from None

    def read(self, items: Sequence[Any]) -> list[bytes] | None:
        """The payloads of a shard; None where it is absent or damaged.

        Raises:
            UserError: It is there and cannot be read.
        """
        path = self._path(items)
        try:
            head, _, body = self.fs.cat_file(path).partition(b"\n")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(self._unusable(error)) from None
        try:
            about = json.loads(head)
            lengths = [int(n) for n in about["lengths"]]
            whole = about["sha256"] == _sha256(body) and len(lengths) == len(items)
        except (ValueError, KeyError, TypeError):
            whole = False
        if not whole or sum(lengths) != len(body):
            log.warning("%s is damaged; its shard is computed again", path)
            return None
        ends = [sum(lengths[: k + 1]) for k in range(len(lengths))]
        return [body[end - n : end] for end, n in zip(ends, lengths, strict=True)]

    def payloads(self, shards: Sequence[Sequence[Any]]) -> Iterator[bytes]:
        """What is there of these shards, also of those whose items were kept one by one."""
        for shard in shards:
            found = self.read(shard)
            if found is None and len(shard) > 1:
                found = [p for item in shard for p in self.read((item,)) or []]
            yield from found or []

    def forget(self, shards: Sequence[Sequence[Any]]) -> None:
        """Remove the files of these shards; others may lie at the same place."""
        singles = [(item,) for shard in shards for item in shard]
        for path in {self._path(items) for items in (*shards, *singles)}:
            if self.fs.exists(path):
                self.fs.rm_file(path)

    def _path(self, items: Sequence[Any]) -> str:
        known = self._paths.get(id(items))
        if known is None or known[0] is not items:
            known = (items, f"{self.root}/{self.key(items)}.shard")
            self._paths[id(items)] = known  # holds the items, so that nothing else gets their id
        return known[1]

    def _unusable(self, error: Exception) -> str:
        reason = getattr(error, "strerror", None) or error
        return f"cannot keep shards at {self.place} ({reason}); choose another scratch=…"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
