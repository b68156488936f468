"""Files of one record a line, as runs write that may be killed and go on."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from corr.errors import UserError
from corr.store import write_atomic

T = TypeVar("T")


def complete_lines(path: Path, from_line: Callable[[str], T]) -> list[T]:
    """All records; a cut-off last line (a kill while writing) is dropped.

    Args:
        path: The file; a missing one holds no records.
        from_line: Reads a line; raises ValueError where it is none.

    Raises:
        UserError: Another line is damaged.
    """
    found: list[T] = []
    lines = path.read_text().splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(from_line(line))
        except ValueError:
            if number == len(lines):
                break
            raise UserError(f"{path}:{number} is damaged; delete the line or the file") from None
    return found


@contextmanager
def appended(path: Path, done: Iterable[str]) -> Iterator[Callable[[str], None]]:
    """Rewrite the file with its complete lines, then hand out what adds one and sees it onto disk.

    Args:
        path: The file; its folder is made.
        done: Lines that stay, without line ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, "".join(f"{line}\n" for line in done))
    with path.open("a") as file:

        def add(line: str) -> None:
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())

        yield add
