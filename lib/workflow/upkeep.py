"""The commands that look after what is committed: notebooks' form, rules and freshness, the tables, the cache."""

from __future__ import annotations

import argparse

from lib.workflow import cache, experiments, notebooks, papers, paths, report
from lib.workflow.aliases import check as check_aliases


def format_notebooks(_: argparse.Namespace) -> int:
    """Write every notebook in the one form in which notebooks are committed."""
    for path in sorted(paths.NOTEBOOKS.rglob("*.ipynb")):
        before = path.read_text(encoding="utf-8")
        notebooks.write(path, notebooks.normalise(notebooks.read(path)))
        if path.read_text(encoding="utf-8") != before:
            print(f"{paths.relative(path)}: normal form")
    return 0


def lint(_: argparse.Namespace) -> int:
    """Check every notebook against the rules and every paper against its schema."""
    problems = [problem for path in sorted(paths.NOTEBOOKS.rglob("*.ipynb")) for problem in notebooks.lint(path)]
    check_aliases(*papers.slugs())
    for slug in papers.slugs():
        experiments.load(slug) if experiments.has(slug) else papers.load_paper(slug)
    print("\n".join(problems) or "notebooks and papers: no problem")
    return 1 if problems else 0


def fresh(_: argparse.Namespace) -> int:
    """Tell which committed notebooks no longer belong to what is in the repository."""
    problems = [problem for path in sorted(paths.NOTEBOOKS.rglob("*.ipynb")) if (problem := notebooks.stale(path))]
    print("\n".join(problems) or "every committed notebook is fresh")
    return 1 if problems else 0


def tables(_: argparse.Namespace) -> int:
    """Regenerate the claims tables from results/*.json."""
    changed = report.update()
    print("\n".join(f"rewrote {paths.relative(path)}" for path in changed) or "tables are up to date")
    return 0


def show_cache(arguments: argparse.Namespace) -> int:
    """List the cached artefacts, or delete those that today's source would not build (all of them with --all)."""
    if arguments.action == "clean":
        number, size = cache.clean(everything=arguments.all)
        print(f"deleted {number} artefacts, {size / 1e6:.1f} MB")
        return 0
    found = cache.entries()
    for entry in found:
        state = "" if entry["current"] else "  (of older source)"
        state = state if entry["complete"] else "  (damaged)"
        print(f"{entry['name']:<24} {entry['key']}  {entry['bytes'] / 1e6:8.1f} MB  {entry['seconds']:7.1f} s{state}")
    print(f"{len(found)} artefacts, {sum(e['bytes'] for e in found) / 1e6:.1f} MB in {paths.relative(paths.CACHE)}")
    return 0
