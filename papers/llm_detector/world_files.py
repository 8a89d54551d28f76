"""The generated world as files: human documents in five parts that share none, and the corpus in HC3's format.

The parts keep apart what must not share texts: what the machines, the scoring model and the detectors are trained on, what is
labelled, and what is polished. A scorer that shares texts with a machine wins for the wrong reason (sheet, section 9).

    human = run.build(write_human, seed=0, size={}, counts={...}); run.build(write_corpus, human=human, transformers=[...], ...)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.files import read_json, write_json, write_json_lines
from lib.models import causal_lm
from lib.streams import stream
from papers.llm_detector import hc3
from papers.llm_detector.texts import HUMAN, MACHINE, WRITTEN, Mixed, write_mixed
from papers.llm_detector.world import Document, Human, Size, vocabulary, written
from papers.llm_detector.writers import LATE, WRITERS, NGram, Transformer, Writer

PARTS = ("writers", "scorer", "unlabelled", "labelled", "polished", "shares")
PLACES = ("anywhere", "beginning", "end")  # where the polished sentences of a document stand


def words_of(size: dict[str, Any], languages: Sequence[str]) -> list[str]:
    return vocabulary(Size(**size), tuple(languages))


def write_tokenizer(
    folder: Path, *, size: dict[str, Any], languages: list[str], width: int, depth: int, heads: int, seed: int
) -> None:
    """A causal LM with random weights that knows every word of the world and the two labels."""
    texts = [" ".join(words_of(size, languages)), " ".join(WRITTEN)]
    causal_lm.write_checkpoint(
        folder, texts=texts, chat_template="plain", architecture="llama", width=width, depth=depth, heads=heads,
        seed=seed, max_position_embeddings=512,
    )  # fmt: skip


def write_human(folder: Path, *, seed: int, size: dict[str, Any], language: str, counts: dict[str, int]) -> None:
    """``human.json``: part -> documents; ``<part>.jsonl`` of what is read without labels: ``{"text": question and answer}``."""
    human = Human(Size(**size), language=language, seed=seed)
    parts = {}
    for part in PARTS:
        rng = stream(seed, "human", language, part)
        parts[part] = [human.document(domain, rng) for domain in human.domains for _ in range(counts[part])]
    write_json(folder / "human.json", {part: [asdict(one) for one in found] for part, found in parts.items()})
    for part in ("writers", "scorer"):
        write_json_lines(folder / f"{part}.jsonl", [{"text": _whole(one)} for one in parts[part]])


def read_human(folder: Path) -> dict[str, list[Document]]:
    """The documents of :func:`write_human`, part by part."""
    return {
        part: [Document(one["domain"], tuple(one["question"]), tuple(map(tuple, one["sentences"]))) for one in found]
        for part, found in read_json(Path(folder) / "human.json").items()
    }


def _whole(one: Document) -> str:
    return written([*one.question, *(word for said in one.sentences for word in said)])


def _answer(one: Document) -> str:
    return " ".join(written(said) for said in one.sentences)


class _Machines:
    """The nine writers of a world: the n-gram models of each domain, the transformers of all."""

    def __init__(self, documents: Sequence[Document], words: list[str], transformers: Sequence[Path]):
        self.by_domain: dict[str, list[list[str]]] = {}
        for one in documents:
            self.by_domain.setdefault(one.domain, []).append([*one.question, *(w for s in one.sentences for w in s)])
        self.words = words
        self.transformers = dict(enumerate(transformers))
        self._made: dict[str, Writer] = {}

    @property
    def names(self) -> list[str]:
        return [name for name, (kind, k, _) in WRITERS.items() if kind == "ngram" or k in self.transformers]

    def of(self, name: str) -> Writer:
        if name not in self._made:
            kind, number, sampling = WRITERS[name]
            self._made[name] = (
                NGram(self.by_domain, self.words, order=number, sampling=sampling)
                if kind == "ngram"
                else Transformer(self.transformers[number], self.words, sampling=sampling)
            )
        return self._made[name]

    def answers(self, name: str, documents: Sequence[Document], rng: np.random.Generator) -> list[Document]:
        """Its answer to each document's question, sentence for sentence as long as the human's."""
        return self.polish(name, documents, [range(len(one.sentences)) for one in documents], rng)

    def polish(
        self, name: str, documents: Sequence[Document], chosen: Sequence[Sequence[int]], rng: np.random.Generator
    ) -> list[Document]:
        """The documents with their ``chosen`` sentences written anew behind what then stands before them."""
        said = [[list(words) for words in one.sentences] for one in documents]
        for number in range(max(len(one) for one in said)):
            members = [k for k in range(len(documents)) if number in chosen[k]]
            if not members:
                continue
            contexts = [
                [*documents[k].question, *(w for earlier in said[k][:number] for w in earlier)] for k in members
            ]
            lengths = [len(said[k][number]) for k in members]
            new = self.of(name).write([documents[k].domain for k in members], contexts, lengths, rng)
            for k, words in zip(members, new, strict=True):
                said[k][number] = words
        return [
            Document(one.domain, one.question, tuple(map(tuple, words)))
            for one, words in zip(documents, said, strict=True)
        ]


def _chosen(number: int, count: int, place: str, rng: np.random.Generator) -> list[int]:
    if place == "beginning":
        return list(range(count))
    return list(range(number - count, number)) if place == "end" else sorted(rng.permutation(number)[:count].tolist())


def write_corpus(
    folder: Path, *, human: Path, transformers: list[Path], size: dict[str, Any], answers: int, seed: int
) -> None:
    """``hc3/<domain>.jsonl``: the labelled questions with the answers of the human and of so many
    machines, by turns; ``unlabelled.jsonl``: texts to pretrain on, half of
    them by machines; ``mixed.jsonl`` and ``shares.jsonl``: polished documents, the latter of every share and place in turn."""
    parts = read_human(human)
    language = parts["labelled"][0].domain[0]
    machines = _Machines(parts["writers"], words_of(size, [language]), transformers)
    early = [name for name in machines.names if name not in LATE]
    given: list[dict[str, list[str]]] = [{} for _ in parts["labelled"]]
    for turn, name in enumerate(machines.names):
        own = [k for k in range(len(given)) if (turn - k) % len(machines.names) < answers]
        said = machines.answers(name, [parts["labelled"][k] for k in own], stream(seed, "answers", language, name))
        for k, one in zip(own, said, strict=True):
            given[k][f"{name}_answers"] = [_answer(one)]
    rows: dict[str, list[dict[str, Any]]] = {}
    for k, one in enumerate(parts["labelled"]):
        row = {"id": str(k), "source": one.domain, "question": written(one.question), "human_answers": [_answer(one)]}
        rows.setdefault(one.domain, []).append(row | given[k])
    for domain, listed in rows.items():
        hc3.write_hc3(folder / "hc3" / f"{domain}.jsonl", listed)
    texts = [_whole(one) for one in parts["unlabelled"]]
    for name in early:
        own = parts["unlabelled"][early.index(name) :: len(early)]
        texts += [_whole(one) for one in machines.answers(name, own, stream(seed, "unlabelled", language, name))]
    write_json_lines(folder / "unlabelled.jsonl", [{"text": text} for text in texts])
    shuffled = [" ".join(stream(seed, "words", k).permutation(text.split())) for k, text in enumerate(texts)]
    write_json_lines(folder / "shuffled.jsonl", [{"text": text} for text in shuffled])
    _write_polished(folder, parts, machines, early, language, seed)


def _write_polished(folder: Path, parts, machines: _Machines, early: list[str], language: str, seed: int) -> None:
    for part, file in (("polished", "mixed.jsonl"), ("shares", "shares.jsonl")):
        rng, found = stream(seed, "polish", language, part), []
        for g, name in enumerate(early):
            own = parts[part][g :: len(early)]
            plans = []
            for k, one in enumerate(own):
                number = len(one.sentences)
                count = 1 + k % (number - 1) if part == "shares" else int((rng.random(number) < 0.5).sum())
                place = PLACES[(k // (number - 1)) % len(PLACES)] if part == "shares" else PLACES[0]
                plans.append((count, place, _chosen(number, count, place, rng)))
            done = machines.polish(name, own, [chosen for _, _, chosen in plans], rng)
            for k, (one, (count, place, chosen)) in enumerate(zip(done, plans, strict=True)):
                labelled = tuple(
                    (written(said), MACHINE if n in chosen else HUMAN) for n, said in enumerate(one.sentences)
                )
                id = f"{part}-{name}-{k}" + (f"-{count}-{place}" if part == "shares" else "")
                found.append(Mixed(id, f"{part}-{name}-{k}", one.domain, name, labelled))
        write_mixed(folder / file, found)
