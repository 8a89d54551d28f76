"""Run the judged miniatures again, with other seeds or another arithmetic, and count the outcomes that come out otherwise.

    python tests/helpers/replicate.py arithmetic             # the kernels of an old processor, from an empty cache
    python tests/helpers/replicate.py seeds --paper brgsa    # seeds 20 to 29: other bases, worlds and orders

What was found goes into ``papers/replications.json``, from which ``make tables`` writes the README's sentence.

>>> changed({"C1": "direction seen", "C2": "undecided"}, {"C1": "undecided", "C2": "undecided"})
{'C1': ['direction seen', 'undecided']}
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from foreign import FOREIGN, trained

from lib.workflow import jobs, papers, paths, report

SEEDS = list(range(20, 30))


def changed(committed: dict[str, str], again: dict[str, str]) -> dict[str, list[str]]:
    """Claim -> [outcome before, outcome now] of those that differ."""
    return {claim: [word, again[claim]] for claim, word in committed.items() if again[claim] != word}


def outcomes(job: jobs.Job, root: Path | None = None) -> dict[str, str]:
    """Claim -> outcome of one exhibit's committed result, or of the one below ``root``."""
    content = json.loads(paths.result(job.slug, job.exhibit, "mini", root=root).read_text(encoding="utf-8"))
    return {claim: judged["outcome"] for claim, judged in content["claims"].items()}


def run(job: jobs.Job, kind: str) -> None:
    """Execute one notebook at mini into ``runs/replications/<kind>``; one that is there is left as it is."""
    root = paths.RUNS / "replications" / kind
    if paths.result(job.slug, job.exhibit, "mini", root=root).is_file():
        return
    output = root / "notebooks" / job.slug / f"{job.exhibit}.ipynb"
    environment = os.environ | {"REPRISE_OUT": str(root)}
    given = []
    if kind == "arithmetic":
        environment |= FOREIGN | {"REPRISE_CACHE": str(root / "cache")}
    else:
        given = ["-p", f"seeds={SEEDS}"]
    command = [sys.executable, "-m", "lib.workflow", "execute", job.label, *given, "--output", str(output)]
    done = subprocess.run(command, cwd=paths.ROOT, env=environment, capture_output=True, text=True)
    print(job.label, "done" if done.returncode == 0 else done.stderr[-2000:], flush=True)
    done.check_returncode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["arithmetic", "seeds"])
    parser.add_argument("--paper", choices=papers.slugs(), action="append")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    chosen = [job for job in jobs.every("mini") if trained(job) and outcomes(job)]
    chosen = [job for job in chosen if not given.paper or job.slug in given.paper]
    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(lambda job: run(job, given.kind), chosen))
    root = paths.RUNS / "replications" / given.kind
    found = json.loads(report.replications().read_text()) if report.replications().is_file() else {}
    mine = found.setdefault(given.kind, {})
    for slug in dict.fromkeys(job.slug for job in chosen):
        pairs = [(outcomes(job), outcomes(job, root)) for job in chosen if job.slug == slug]
        differ = {key: words for before, now in pairs for key, words in changed(before, now).items()}
        mine[slug] = {"tests": sum(len(before) for before, _ in pairs), "changed": dict(sorted(differ.items()))}
        print(slug, mine[slug])
    text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False)
    paths.write(report.replications(), text + "\n")


if __name__ == "__main__":
    main()
