"""From argv to typed options: a small dispatcher in front of `hydra.main`."""

import itertools
import logging
import os
import re
import select
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corr.errors import UserError
from corr.sweep import Failure, Refusal, attempt, failures_told, sweeping

if TYPE_CHECKING:
    from omegaconf import DictConfig

REQUIRED = "(required)"  # stands for a value that was not given
CLOSED_PIPE = 128 + 13  # as if SIGPIPE had ended us, which is how other tools end


@dataclass(frozen=True)
class Command:
    """One command of a package: its Hydra config name, one line of help and what it calls."""

    config: str  # YAML in conf/, without the suffix
    summary: str
    main: Callable[[Any], None]  # gets the typed options
    register: Callable[[], None]  # fills Hydra's ConfigStore
    positional: str = ""  # the list option that arguments without `=` go into; empty = none


def dispatch(package: str, commands: Mapping[str, Command]) -> None:
    """Run `python -m <package> <command> key=value …`.

    Exit codes: 0 done, 1 the input cannot work, 2 usage (one line each), 141 nobody reads on
    (`… | head -1`).
    """
    with _quiet_when_nobody_reads():
        _dispatch(package, commands)


def _dispatch(package: str, commands: Mapping[str, Command]) -> None:
    args = sys.argv[1:]
    if not args or args[0] in ("-h", "--help"):
        print(_usage(package, commands))
        raise SystemExit(0 if args else 2)
    if args[0] not in commands:
        print(f"{package}: unknown command {args[0]!r}; known: {', '.join(commands)}")
        raise SystemExit(2)
    command = commands[args[0]]
    job = f"{package} {args[0]}"
    overrides = [_expand_home(a) for a in _named(args[1:], command.positional)]
    for override in overrides:
        if re.match(r"[+~]", override):
            print(f"{job}: {override} must not start with + or ~; options are set as key=value")
            raise SystemExit(2)
    sys.argv = [job, *overrides]
    _run_hydra(job, command)


def shared_dir() -> Path:
    """Where `conf/` and `data/` lie: the checkout, or the environment's share folder."""
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "conf" / "recon_run.yaml").is_file():
        return checkout
    return Path(sys.prefix) / "share" / "few-view-recon"


def _run_hydra(job: str, command: Command) -> None:
    import hydra
    from omegaconf import DictConfig, OmegaConf

    command.register()
    conf = shared_dir() / "conf"
    if {"--help", "-h"} & set(sys.argv[1:]):
        from corr.help import help_text

        print(help_text(conf, command.config, [a for a in sys.argv[1:] if "=" in a]))
        return

    from corr.overrides import UsageError, check

    try:
        check(conf, command.config, sys.argv[1:])
    except UsageError as error:
        raise _refusal(job, str(error), 2) from None

    def work(config: DictConfig) -> None:
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            wrong = _wrong_value(config, missing)
            told = wrong or "missing " + " ".join(f"{key}=…" for key in missing)
            raise _refusal(job, told)
        try:
            options = OmegaConf.to_object(config)
        except ValueError as error:
            raise _refusal(job, str(error)) from None
        except Exception as error:
            if isinstance(error.__cause__, ValueError):
                raise _refusal(job, str(error.__cause__)) from None
            raise
        # Interrupted while it is imported, torch would print the counters of its caches at the end.
        logging.getLogger("torch").setLevel(logging.WARNING)
        try:
            with _quiet_when_nobody_reads():  # Hydra would show the traceback
                command.main(options)
        except UserError as error:
            raise _refusal(job, str(error)) from None
        except KeyboardInterrupt:
            raise _refusal(job, "interrupted; the same command continues", 130) from None

    def task(config: DictConfig) -> Failure | None:
        if sweeping():
            return attempt(lambda: work(config))
        work(config)
        return None

    decorate = hydra.main(version_base="1.3", config_path=str(conf), config_name=command.config)
    with failures_told(job):
        decorate(task)()


def _wrong_value(config: "DictConfig", missing: Sequence[str]) -> str:
    """What is wrong with the options that are given, where others are missing; empty: nothing."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    filled = config.copy()
    try:
        for key in missing:
            OmegaConf.update(filled, key, REQUIRED)
        OmegaConf.to_object(filled)
    except OmegaConfBaseException as error:  # a missing number cannot be filled in
        found = str(error.__cause__) if isinstance(error.__cause__, ValueError) else ""
    except ValueError as error:
        found = str(error)
    else:
        found = ""
    return "" if REQUIRED in found else found


@contextmanager
def _quiet_when_nobody_reads() -> Iterator[None]:
    """Exit without a word when standard output is a pipe whose other end was closed.

    A closed pipe to anything else, a worker of ours say, stays an error.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _nobody_reads(sys.stdout.fileno()):
            raise
        # Python flushes once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(CLOSED_PIPE) from None


def _nobody_reads(pipe: int) -> bool:
    waiting = select.poll()
    waiting.register(pipe, 0)  # errors and hang-ups are told unasked
    return bool(waiting.poll(0))


def _refusal(job: str, message: str, code: int = 1) -> Refusal:
    """Say why the command ends; to be raised."""
    sys.stdout.flush()
    print(f"{job}: {' '.join(message.split())}", file=sys.stderr)
    return Refusal(code, message)


def _named(arguments: list[str], option: str) -> list[str]:
    """Arguments without a key as one list option, e.g. `photos=["a.jpg","b.jpg"]`.

    A file whose name holds `=` is meant where such a file exists.
    """
    if not option:
        return arguments
    flags = {a for a in arguments if a.startswith(("-", "+"))}
    # `--cfg job` and the like take a value.
    values = {b for a, b in itertools.pairwise(arguments) if a in ("--cfg", "-c")}
    plain = [
        a for a in arguments
        if a not in flags | values and ("=" not in a or Path(a).expanduser().exists())
    ]  # fmt: skip
    if not plain:
        return arguments
    quoted = ",".join("'" + a.replace("\\", "\\\\").replace("'", "\\'") + "'" for a in plain)
    return [f"{option}=[{quoted}]", *(a for a in arguments if a not in plain)]


def _expand_home(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if equals and value.startswith("~/"):
        return f"{key}={Path(value).expanduser()}"
    return argument


def _usage(package: str, commands: Mapping[str, Command]) -> str:
    width = max(map(len, commands))
    lines = [f"usage: python -m {package} <command> [key=value …]", ""]
    lines += [f"  {name:<{width}}  {command.summary}" for name, command in commands.items()]
    return "\n".join([*lines, "", f"options: python -m {package} <command> --help"])
