"""The command line: one verb a function. Exit codes are those of `Exit`."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

import click

from mfstudy.cli import _plan, _stores, _studies, _sweeps  # noqa: F401  each defines verbs
from mfstudy.cli._frame import Exit, verbs
from mfstudy.cluster import EngineError
from mfstudy.components import InputError
from mfstudy.meanfield import UnreachableError
from mfstudy.store import DamagedError
from mfstudy.sweep import DiskError, InterruptedRunError

__all__ = ["Exit", "main", "verbs"]


def main() -> NoReturn:
    """Run the command line; every expected error is one line on standard error."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = verbs.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else Exit.DONE)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(Exit.BAD_INPUT)
    except click.UsageError as error:
        _end(error.format_message(), Exit.BAD_INPUT)
    except (InputError, EngineError) as error:
        _end(str(error), Exit.BAD_INPUT)
    except (DamagedError, DiskError) as error:
        _end(str(error), Exit.REMAINS)
    except UnreachableError as error:
        _end(str(error), Exit.NOT_MEASURABLE)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.DONE)
    except OSError as error:
        _end(f"{error.filename or 'output'}: {error.strerror or error}", Exit.REMAINS)
    except (InterruptedRunError, _Terminated) as error:
        _end(str(error), Exit.INTERRUPTED)
    except (KeyboardInterrupt, click.Abort):
        _end("stopped; what is stored stays, running again goes on", Exit.CTRL_C)


class _Terminated(BaseException):
    """SIGTERM; like KeyboardInterrupt no Exception, so that no task takes it for its own failure."""


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise _Terminated("ended from outside; run the same command again")


def _end(message: str, code: Exit) -> NoReturn:
    click.echo(f"mfstudy: {' '.join(message.split())}", err=True)
    sys.exit(code)
