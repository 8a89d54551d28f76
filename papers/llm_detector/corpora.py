"""Every corpus as ``texts.jsonl`` or ``mixed.jsonl``: read by its format, cleaned, matched in length, drawn; all counted.

The generated world comes in HC3's format and real texts in their own; what trains and measures sees no difference.

    folder = run.build(write_corpus_texts, format="pairs", source=run.source("pairs"), rules={}, most=36, fewest=20, ...)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib.data.files import DataError
from lib.streams import stream
from papers.llm_detector import audit, hc3, pairs, seqxgpt
from papers.llm_detector.texts import HUMAN, MACHINE, Mixed, Text, read_mixed, write_mixed, write_texts

READERS: dict[str, Callable[[Path], tuple[list[Text], dict[str, int]]]] = {
    "hc3": hc3.read_hc3,
    "pairs": pairs.read_pairs,
    "documents": lambda folder: (found := seqxgpt.read_documents(folder), {"read": len(found), "kept": len(found)}),
}
VERSIONS, EXACT, FREE = "versions", "exact", "free"  # how lengths are matched
KINDS = (
    HUMAN,
    MACHINE,
    "mixed",
)  # of a window: all its sentences by a human, by a machine, first the one and then the other


def _read(format: str, source: Path) -> tuple[list[Text], dict[str, int]]:
    if format not in READERS:
        raise DataError(f"there is no format '{format}'; give one of {', '.join(READERS)}.")
    return READERS[format](Path(source))


def write_corpus_texts(
    folder: Path,
    *,
    format: str,
    source: Path,
    rules: dict[str, Any],
    most: int,
    fewest: int,
    cell: int | None,
    seed: int,
    lengths: str = VERSIONS,
) -> None:
    """``texts.jsonl`` and ``counts.json`` (what was read, what was left out and why, what is kept; their sums agree).

    ``lengths``: ``versions`` cuts all versions of a source to the words of the shortest, at most ``most``, and leaves out texts
    under ``fewest`` words; ``exact`` cuts every text, of documents without versions, to ``most`` words and leaves out the shorter;
    ``free`` leaves them as they are. ``cell``: sources drawn for each domain and generator, ``None``: all.
    """
    if lengths not in (VERSIONS, EXACT, FREE):
        raise DataError(f"lengths cannot be matched by '{lengths}'; give {VERSIONS}, {EXACT} or {FREE}.")
    texts, read = _read(format, source)
    texts, cleaned = audit.clean(texts, audit.Rules(**rules))
    if lengths == VERSIONS:
        texts, dropped = audit.match_lengths(texts, most=most, fewest=fewest)
    elif lengths == FREE:
        dropped = 0
    else:
        long = [one for one in texts if len(one.text.split()) >= most]
        dropped = len(texts) - len(long)
        texts = [replace(one, text=audit.first_words(one.text, most)) for one in long]
    before = len(texts)
    texts = texts if cell is None else drawn(texts, cell, paired=lengths != EXACT, seed=seed)
    if not texts:
        raise DataError(
            f"{source} has no text of {fewest} words with a version by another writer; ask for fewer words."
        )
    counts = {"source": read, "cleaned": cleaned, "too short or alone": dropped, "not drawn": before - len(texts)}
    write_texts(folder / "texts.jsonl", texts)
    (folder / "counts.json").write_text(json.dumps({**counts, "kept": len(texts)}))


def drawn(texts: Sequence[Text], cell: int, *, paired: bool, seed: int) -> list[Text]:
    """At most ``cell`` texts of each domain and generator, in order; ``paired``: so many machine texts, and the human texts of
    their sources."""
    groups: dict[tuple[str, str], list[int]] = {}
    for place, one in enumerate(texts):
        if not (paired and one.generator == HUMAN):
            groups.setdefault((one.domain, one.generator), []).append(place)
    kept: set[int] = set()
    for (domain, generator), places in groups.items():
        order = stream(seed, "drawn", domain, generator).permutation(len(places))
        kept |= {places[k] for k in order[:cell]}
    answered = {texts[place].source for place in kept} if paired else set()
    return [one for k, one in enumerate(texts) if k in kept or (one.generator == HUMAN and one.source in answered)]


# ---------------------------------------------------------------------- mixed documents
def _window(one: Mixed, kind: str, sentences: int, rng) -> tuple[tuple[str, str], ...] | None:
    """So many sentences in a row of one kind, ``None`` where the document has none."""
    labels = [label for _, label in one.sentences]
    if kind == "mixed":
        cut = labels.index(MACHINE) if MACHINE in labels else 0
        starts = [s for s in range(max(0, cut - sentences + 1), cut) if s + sentences <= len(labels)]
    else:
        starts = [s for s in range(len(labels) - sentences + 1) if set(labels[s : s + sentences]) == {kind}]
    return one.sentences[(s := int(rng.choice(starts))) : s + sentences] if starts else None


def write_windows(folder: Path, *, source: Path, sentences: int, words: int, each: int, seed: int) -> None:
    """``mixed.jsonl``: windows of so many sentences, as many all human, all machine, and human then machine; ``counts.json``.

    Every sentence has at least ``words`` words and is cut to these, without form, so that neither length nor marks nor the end
    of a sentence tells; the three kinds keep its place in the window from telling more than it must. At most ``each`` of a
    kind, at most one of a kind from one document; the machines take turns.
    """
    documents, counts = seqxgpt.read_mixed_documents(Path(source))
    able = []
    for one in documents:
        said = [(audit.first_words(audit.plain(text), words), label) for text, label in one.sentences]
        able.append(replace(one, sentences=tuple(pair for pair in said if len(pair[0].split()) == words)))
    found: list[Mixed] = []
    for kind in KINDS:
        rng, taken = stream(seed, "windows", kind), []
        groups: dict[str, list[Mixed]] = {}
        for one in able:
            if (one.generator == HUMAN) == (kind == HUMAN):
                groups.setdefault(one.generator, []).append(one)
        queues = [[listed[k] for k in rng.permutation(len(listed))] for listed in groups.values()]
        while len(taken) < each and any(queues):
            for queue in queues:
                window = None
                while queue and window is None:
                    one = queue.pop()
                    window = _window(one, kind, sentences, rng)
                if window is not None and len(taken) < each:
                    taken.append(replace(one, id=f"{one.id}-{kind}", sentences=window))
        counts[f"windows, {kind}"] = len(taken)
        found += taken
    if min(counts[f"windows, {kind}"] for kind in KINDS) == 0:
        raise DataError(f"{source} has no {sentences} sentences of {words} words in a row; ask for fewer.")
    write_mixed(folder / "mixed.jsonl", found)
    (folder / "counts.json").write_text(json.dumps(counts))


def write_sentences(folder: Path, *, mixed: Path) -> None:
    """``texts.jsonl``: every sentence of the mixed documents as a text of its own, in order."""
    found = [
        Text(f"{one.id}-{k}", one.source, one.domain, HUMAN if label == HUMAN else one.generator, text)
        for one in read_mixed(mixed)
        for k, (text, label) in enumerate(one.sentences)
    ]
    write_texts(folder / "texts.jsonl", found)


def join_rows(folder: Path, *, files: list[Path]) -> None:
    """``rows.jsonl``: the lines of several files, one after the other."""
    (folder / "rows.jsonl").write_text(
        "".join(Path(one).read_text(encoding="utf-8") for one in files), encoding="utf-8"
    )


def polished_share(one: Mixed) -> tuple[int, str]:
    """How many sentences of a document of ``shares.jsonl`` a machine wrote, and where they stand."""
    count, place = one.id.rsplit("-", 2)[-2:]
    return int(count), place


def read_shares(path: Path) -> list[tuple[int, str]]:
    return [polished_share(one) for one in read_mixed(path)]
