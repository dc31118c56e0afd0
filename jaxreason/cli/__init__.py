"""The command line: `main` runs one command and turns whatever ends it into an exit code and a line.

JAX is imported inside the commands that need it, after the configuration has been read, so that help and most mistakes
are answered at once.
"""

import contextlib
import errno
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from jaxreason.cli import arguments, overrides
from jaxreason.config.doors import DoorError, DoorFailed
from jaxreason.run.files import Unwritable
from jaxreason.run.interrupt import CTRL_C, Stopped

MISTAKE, FAILURE = 2, 1
REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EACCES: "choose a place that you may write to",
    errno.EPERM: "choose a place that you may write to",
    errno.EROFS: "choose a place that you may write to",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}
"""What to do about an error of the operating system."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
      argv: without the program's name; None for the process's own.

    Returns:
      The exit code: 0 only for success, 2 for a mistake of the user's, 1 for a failure, 128 + signal for an interrupt.
    """
    argv = overrides.joined(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    try:
        with _quiet():
            args, settings = arguments.parser().parse_known_args(argv)
            args.overrides = settings
            if settings and not args.takes_overrides:
                raise ValueError(f"{' '.join(settings)}: not an argument of this command; see `jaxreason --help`")
            args.command(args)
        return 0
    except SystemExit as leave:  # argparse, after --help
        return int(leave.code or 0)
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        elif isinstance(error, DoorError) and error.traceback:
            print(error.traceback, file=sys.stderr)
        code, line = _say(error)
        print(f"jaxreason: {line}", file=sys.stderr)
        return code


def _say(error: BaseException) -> tuple[int, str]:
    """Exit code and line for whatever ended a command."""
    line = " ".join(str(error).split())
    if isinstance(error, Stopped):
        return error.exit_code, line
    if isinstance(error, KeyboardInterrupt):
        return CTRL_C, "stopped; give the same command again to start over"
    if isinstance(error, DoorFailed):
        return FAILURE, f"error: {line}"
    if isinstance(error, ValueError) and _ours(error):
        return MISTAKE, f"error: {line}"
    if isinstance(error, FloatingPointError | Unwritable):
        return FAILURE, f"error: {line}"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        remedy = REMEDIES.get(error.errno or 0, "check this place")
        return FAILURE, f"error: {where}{error.strerror}; {remedy} and give the command again"
    return FAILURE, f"error: unexpected {type(error).__name__}: {line or 'no message'}; --debug shows where"


def _ours(error: BaseException) -> bool:
    """Whether this package raised it, which it does for users' mistakes only; a library's ValueError is a fault."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(Path(__file__).parents[1])


@contextlib.contextmanager
def _quiet():
    """Keep the chatter of libraries off the terminal; our own warnings become one line each."""
    for name, value in (
        ("TF_CPP_MIN_LOG_LEVEL", "2"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("GRPC_VERBOSITY", "ERROR"),
    ):
        os.environ.setdefault(name, value)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # of a failed save Orbax logs every traceback there
    hook = sys.unraisablehook

    def unraisable(about) -> None:
        """What tensorstore has to say of the other files when one could not be read or written is not for a user."""
        if "Event loop is closed" not in str(about.exc_value):
            hook(about)

    sys.unraisablehook = unraisable
    with warnings.catch_warnings(), contextlib.ExitStack() as after:
        after.callback(setattr, sys, "unraisablehook", hook)
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", module=r"jaxreason\b")
        warnings.showwarning = lambda message, *_: print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)
        yield
