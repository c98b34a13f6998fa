"""Run in a process of its own: do something to stores again and again, and die inside, each time one operation later.

The operations are those of the operating system: each file that is opened for writing, each folder, rename and removal.
Dying just before the k-th, for every k until the work ends, is dying before and after each.
"""

import importlib
import os
import shutil
import sys
from pathlib import Path

#: Exit status of a process that died at its operation.
DIED = 42
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def changes(event, arguments):
    """Say whether an audited event changes files."""
    if event == "open":
        return isinstance(arguments[0], str | os.PathLike) and bool(arguments[2] & _WRITES)
    return event in {"os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "os.truncate", "os.rmdir"}


def die_at(number, root):
    """Let this process die just before its `number`-th change of files below a folder, from 0."""
    seen = [0]

    def hook(event, arguments):
        if changes(event, arguments) and str(arguments[0]).startswith(root):
            if seen[0] == number:
                os._exit(DIED)
            seen[0] += 1

    sys.addaudithook(hook)


def attempt(work, number, folder):
    """Work in a child that dies at an operation; return whether it died."""
    child = os.fork()
    if not child:
        try:
            die_at(number, str(folder))
            work(folder)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, DIED), status
    return status == DIED


def main(module, name, before, folder):
    """Call `module.name(folder)` on copies of `before`, until one call ends; print how many died."""
    work = getattr(importlib.import_module(module), name)
    number = 0
    while True:
        copy = Path(folder) / f"{number:03}"
        shutil.copytree(before, copy)
        if not attempt(work, number, copy):
            break
        number += 1
    print(number)


if __name__ == "__main__":
    main(*sys.argv[1:])
