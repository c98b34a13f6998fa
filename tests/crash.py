"""Run in a process of its own: do something to a store again and again, and die inside, each time one operation later.

    python crash.py WORK BEFORE FOLDER [ERRNO]

The operations are those of the operating system on files below FOLDER: each file opened for writing, each folder,
rename and removal. Dying just before the k-th, for every k until the work ends, is dying before and after each. With
an ERRNO the k-th operation, and every later one, fails with it instead, and what the work says then is printed.
"""

import os
import shutil
import sys
from pathlib import Path

import numpy as np

import mfstudy
from conftest import TINY
from mfstudy.store import Inspection, Store, compact
from mfstudy.store._artefacts import Artefact
from mfstudy.store._disk import Disk
from mfstudy.store._places import place_of
from mfstudy.study import Point, parse

#: Exit status of a process that died at its operation, and of one that said in one line that it cannot go on.
DIED, SAID = 42, 43
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

STUDY = TINY.replace("[10, 30, 100, 300]", "[10, 30]").replace("= 32", "= 16")
DEEPER = TINY.replace("[10, 30, 100, 300]", "[10, 20, 30]").replace("= 32", "= 17")
ARRAYS = {"field": np.arange(6.0).reshape(3, 2), "nothing": np.zeros((0, 1)), "unknown": np.full(2, np.nan)}


def run(folder):
    """Make a store and compute all."""
    mfstudy.run(parse(STUDY), folder / "store", part=(1, 1))


def deepen(folder):
    """Ask a complete store for more, and compute that."""
    mfstudy.run(parse(DEEPER), folder / "store", part=(1, 1))


def write(folder):
    """Write one block over what was there."""
    store = Store(folder / "store")
    block = store.wanted()[0]
    store.write(block, store.read_block(block))


def artefact(folder) -> Artefact:
    """Return an artefact of a store."""
    store = Store(folder / "store")
    return Artefact(Disk(place_of(store.path)), "artefacts/reference", store.attributes["identity"])


def share(folder):
    """Write what blocks share."""
    artefact(folder).write(ARRAYS)


def copy(folder):
    """Make a compacted copy."""
    compact(folder / "store", folder / "copy")


def inspect(folder):
    """Set a damaged block aside."""
    Inspection.of(folder / "store")


def damage(folder):
    """Flip a bit of a block."""
    chunk = folder / "store/record" / Point(10).id / "c.0.0.0"
    data = bytearray(chunk.read_bytes())
    data[77] ^= 4
    chunk.write_bytes(data)


def changes(event, arguments):
    """Say whether an audited event changes files."""
    if event == "open":
        return isinstance(arguments[0], str | os.PathLike) and bool(arguments[2] & _WRITES)
    return event in {"os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "os.truncate", "os.rmdir"}


def fail_at(number, root, code):
    """Let this process die just before its `number`-th change of files below a folder, from 0, or fail from it on."""
    seen = [0]

    def hook(event, arguments):
        if not changes(event, arguments) or not str(arguments[0]).startswith(root):
            return
        seen[0] += 1
        if seen[0] > number:
            if code is None:
                os._exit(DIED)
            if event != "os.remove":
                raise OSError(code, os.strerror(code), str(arguments[0]))

    sys.addaudithook(hook)


def attempt(work, number, folder, code):
    """Work in a child that dies or fails at an operation; return how it ended."""
    child = os.fork()
    if not child:
        try:
            fail_at(number, str(folder), code)
            work(folder)
        except (OSError, ValueError, RuntimeError) as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(SAID if "\n" not in str(error) and code is not None else 1)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(work, before, folder, code=None):
    """Work on copies of `before` until one attempt ends."""
    expected = DIED if code is None else SAID
    for number in range(1000):
        target = Path(folder) / f"{number:03}"
        shutil.copytree(before, target)
        ended = attempt(globals()[work], number, target, None if code is None else int(code))
        if ended == 0:
            return
        assert ended == expected, (number, ended)
    raise AssertionError("it never ends")


if __name__ == "__main__":
    main(*sys.argv[1:])
