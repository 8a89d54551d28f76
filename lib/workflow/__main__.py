"""The command line: ``python -m lib.workflow --help``. The Makefile's targets call it.

Only the words are understood here; what a command does, and all it needs, is imported when it is called. Ctrl-C ends every
command in one sentence, also while it is still importing.
"""

from __future__ import annotations

import os
import signal
import sys

STOPPED = "Interrupted; what is finished is kept, the same command goes on from there."


def _stop(*_: object) -> None:
    """End at once: where nothing is written yet, or any more, and a traceback would tell of imports only."""
    os.write(2, f"{STOPPED}\n".encode())
    os._exit(130)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, _stop)

import argparse  # noqa: E402
import errno  # noqa: E402
from pathlib import Path  # noqa: E402

_FULL_OR_CLOSED = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lib.workflow", description="Reprise: rerun the papers, look after the notebooks."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, function: str, help_text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help_text, description=help_text)
        command.set_defaults(function=function)
        return command

    def choice(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
        command.add_argument("--profile", default="mini", help="smoke, mini (default), real, gpu or full")
        command.add_argument("--paper", default=None, help="only this paper: a folder of papers/")
        command.add_argument("--notebook", default=None, help="only this notebook: its name without .ipynb")
        return command

    command = choice(add("run", "run", "run every notebook that is not up to date, below runs/"))
    command.add_argument("--jobs", type=int, default=2, help="notebooks at a time, one core each (default 2)")
    command.add_argument("--cluster", default=None, help="a folder of profiles/, e.g. slurm")
    command.add_argument("--again", action="store_true", help="also what is up to date")
    command.add_argument("--publish", action="store_true", help="then copy what was made into the repository")
    command = add("data", "data", "what the papers read from outside: what is here, what is missing, where it goes")
    command.add_argument("--profile", default=None, help="only what this profile reads (default: every source)")
    command.add_argument("--paper", default=None, help="only this paper: a folder of papers/")
    command.add_argument(
        "--fetch", action="store_true", help="bring here what may be fetched; then no network is needed"
    )
    command.add_argument("--sizes", action="store_true", help="ask the origins how large what is missing is")
    command = choice(
        add("doctor", "examine", "before anything long: what a profile needs, beside what this machine has")
    )
    command.add_argument("--jobs", type=int, default=2, help="notebooks at a time, where no card is needed (default 2)")
    command.add_argument(
        "--quick", action="store_true", help="without the steps of the arms, which take a minute or more"
    )
    command.add_argument("--cells", action="store_true", help="also every exhibit's cells on small files: minutes")
    choice(add("publish", "publish_run", "copy a finished run's figures, results and outputs into the repository"))
    choice(add("compare", "compare_run", "the last run beside the committed results"))
    add("gallery", "show_gallery", "the committed results as pages to look at, below runs/gallery")
    command = add("new-paper", "new_paper", "write a new paper that runs, to be filled with yours")
    command.add_argument("slug", help="its short name, as in papers/<slug>")
    add("arithmetic", "show_arithmetic", "what this machine computes to the bit, beside the committed results'")
    command = add("lab", "lab", "JupyterLab on copies of the notebooks")
    command.add_argument("--in-place", action="store_true", help="on the repository's notebooks themselves")
    command.add_argument("options", nargs="*", help="options of JupyterLab, after --")
    command = add("embed", "embed", "embed your own CT volumes and reports with a trained BrgSA, for the explorer")
    command.add_argument("folder", type=Path, help="holds *.nii.gz at any depth; beside each a .txt, or see --reports")
    command.add_argument(
        "--checkpoint", type=Path, required=True, help="a folder; papers/brgsa/checkpoint.py makes one"
    )
    command.add_argument(
        "--reports", type=Path, default=None, help="CSV: volume, report; labels (a;b), further columns"
    )
    command.add_argument(
        "--output", type=Path, default=None, help="folder to write (default runs/embed/<folder's name>)"
    )
    command.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    command.epilog = (
        "What cannot be read is listed at the end and hinders nothing else (exit status 1). Stopped, it goes on."
    )
    command = add("execute", "execute_one", "run one notebook with the strict runner")
    command.add_argument("notebook", help="paper/name, or a path to an .ipynb")
    command.add_argument("--profile", default="mini")
    command.add_argument(
        "-p", "--parameter", action="append", metavar="NAME=VALUE", help="set a parameter (repeatable)"
    )
    command.add_argument("--output", default=None, help="executed copy (default: runs/<profile>/<paper>/<name>.ipynb)")
    add("format", "format_notebooks", "write notebooks in normal form")
    add("lint", "lint", "check notebooks and papers")
    add("fresh", "fresh", "which committed notebooks are stale")
    add("tables", "tables", "regenerate the claims tables")
    command = add("cache", "show_cache", "list or clean the cached artefacts")
    command.add_argument("action", choices=["list", "clean"], nargs="?", default="list")
    command.add_argument("--all", action="store_true", help="clean: delete everything")
    return parser


def main(words: list[str] | None = None) -> int:
    for word in sys.argv[1:] if words is None else words:
        if any("\udc80" <= letter <= "\udcff" for letter in word):  # bytes that Python could not read
            print(f"error: {word!r} is not UTF-8 text; type it, or name the file, in UTF-8", file=sys.stderr)
            return 2
    arguments = _parser().parse_args(words)
    from lib.workflow import commands, paths

    before = signal.getsignal(signal.SIGINT)
    if before is _stop:  # from here on there is something to put away
        signal.signal(signal.SIGINT, signal.default_int_handler)
    paths.caches_without_home()
    try:
        return getattr(commands, arguments.function)(arguments)
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return 130
    except commands.ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where, reason = error.filename or "a file", error.strerror or error
        remedy = "make room or make it writable" if error.errno in _FULL_OR_CLOSED else "put that right"
        print(f"error: {where}: {reason}; {remedy}, and run again", file=sys.stderr)
        return 2
    finally:
        if before is _stop:
            signal.signal(signal.SIGINT, _stop)


if __name__ == "__main__":
    sys.exit(main())
