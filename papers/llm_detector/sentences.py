"""The plan of the sentence experiments: who labels the sentences of a mixed document, and how well.

The detector reads the whole document and writes a label a sentence; the sentence encoder (Sent-RoBERTa's role) reads one
sentence at a time; Sniffer has each sentence's log-probabilities in its place. Split and resampled is by source, as everywhere.

    found = prepare(study).detect(["llm_detector", "sniffer"]); found.samples("sniffer", measure="macro-F1")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lib.streams import stream, stream_seed
from papers.llm_detector import baselines, measures
from papers.llm_detector.found import RESAMPLES, leave
from papers.llm_detector.study import LLM, SHUFFLED, Study
from papers.llm_detector.texts import MACHINE, WRITTEN, Mixed, read_mixed

SENTENCE = "sentence_encoder"
ARMS = ("bag_of_words", "log_probability", "curvature", "sniffer", SENTENCE, LLM)
SHORTCUTS = ("place", "length")  # where a sentence stands, how many words it has
MEASURES: dict[str, Callable[..., np.ndarray]] = {
    "AUROC within a place": measures.area,
    "macro-F1": measures.macro_f1,
    "balanced accuracy": measures.balanced_accuracy,
}


@dataclass(frozen=True, eq=False)
class Sentences:
    """The sentences of one replicate in a row: ``said``, ``machine`` (N,), ``document`` and ``place`` of each (N,); documents that
    train and that test."""

    seed: int
    documents: list[Mixed]
    train: list[int]
    test: list[int]

    @property
    def said(self) -> list[str]:
        return [text for one in self.documents for text, _ in one.sentences]

    @property
    def machine(self) -> np.ndarray:
        return np.array([label == MACHINE for one in self.documents for label in one.labels])

    @property
    def document(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.documents)), [len(one.sentences) for one in self.documents])

    @property
    def place(self) -> np.ndarray:
        return np.concatenate([np.arange(len(one.sentences)) for one in self.documents])

    def rows(self, documents: Sequence[int]) -> np.ndarray:
        """Places of the sentences of these documents."""
        return np.flatnonzero(np.isin(self.document, documents))

    def labels(self, *, shuffle: bool) -> np.ndarray:
        """(N,) 1: machine; ``shuffle``: drawn anew for each document from the labels of all that train, so that neither the
        sentence nor its place says anything."""
        own = self.machine.astype(int)
        if not shuffle:
            return own
        inside = self.rows(self.train)
        own[inside] = own[stream(self.seed, "shuffled sentences").permutation(inside)]
        return own


@dataclass
class Labelled:
    """``scores``: arm -> replicate -> a score a sentence, nan where it was not asked. ``invalid``: share of documents with no
    valid written answer; ``exact``, ``segments``: documents all right, F1 of boundaries."""

    study: Study
    cases: list[Sentences]
    scores: dict[str, list[np.ndarray]] = field(default_factory=dict)
    invalid: dict[str, list[float]] = field(default_factory=dict)

    @property
    def real(self) -> bool:
        return self.study.run.evidence == "real"

    def samples(self, arm: str, *, measure: str = "AUROC within a place") -> np.ndarray:
        """Replicates (R,), or of real documents the estimate and its resamples (1 + B,), over the documents that test."""
        found = []
        for case, scores in zip(self.cases, self.scores[arm], strict=True):
            inside = case.rows(case.test)
            sources = [case.documents[k].source for k in case.document[inside]]
            weights = measures.resample(sources, resamples=RESAMPLES if self.real else 0, seed=case.seed)
            extra = {"strata": case.place[inside]} if measure == "AUROC within a place" else {}
            found.append(MEASURES[measure](scores[inside], case.machine[inside], weights, **extra))
        return found[0] if self.real else np.array([one[0] for one in found])

    def table(self, arms: Sequence[str]) -> dict[str, dict[str, measures.Triple]]:
        """arm -> measure -> (mean, low, high); of replicates their Student interval, of real documents over sources."""
        return {arm: {name: self._triple(self.samples(arm, measure=name)) for name in MEASURES} for arm in arms}

    def _triple(self, samples: np.ndarray) -> measures.Triple:
        from lib.evaluation.statistics import paired_difference

        if self.real:
            return measures.interval(samples)
        found = paired_difference(samples, 0.0)
        return (found.mean, found.low, found.high)

    def whole(self, arm: str) -> dict[str, float]:
        """Means over replicates: documents labelled right throughout, F1 of boundaries, invalid written answers."""
        exact, segments = [], []
        for case, scores in zip(self.cases, self.scores[arm], strict=True):
            own = [scores[case.rows([k])] for k in case.test]
            truth = [case.machine[case.rows([k])].astype(int) for k in case.test]
            exact.append(measures.exact_documents(own, truth))
            segments.append(measures.segment_f1(own, truth))
        found = {"documents right": float(np.mean(exact)), "boundary F1": float(np.mean(segments))}
        return found | ({"invalid answers": float(np.mean(self.invalid[arm]))} if arm in self.invalid else {})

    def first_line(self, table: Mapping[str, Mapping[str, measures.Triple]], measure: str) -> str:
        """Whether a baseline beats the paper's method, which a table says before anything else."""
        own = table[LLM][measure][0]
        better = {arm: table[arm][measure][0] for arm in ARMS if table[arm][measure][0] > own}
        if not better:
            return f"No baseline beats the paper's method ({measure} {own:.3f})."
        best = max(better, key=better.get)
        return (
            f"A baseline beats the paper's method ({len(better)} of {len(ARMS) - 1} do): {measure}, {best} {better[best]:.3f}, "
            f"{LLM} {own:.3f}."
        )

    def nulls(self, arms: Sequence[str]) -> dict[str, bool]:
        """Whether each is at chance within a place, by its own 95 % interval; printed, one line each."""
        fine = {}
        for arm in arms:
            mean, low, high = self._triple(self.samples(arm))
            inside = bool(low <= 0.5 <= high)
            said = "at chance" if inside else "NOT at chance: outcomes that rest on it are invalid"
            print(f"null {arm}: AUROC within a place {mean:.3f} [{low:.3f}, {high:.3f}], {said}")
            fine[arm] = inside
        return fine

    def judge(self, claim_id: str, *, measure: str, nulls: Mapping[str, bool]) -> None:
        """Judge a claim whose arms are named after detectors. It rests on those of ``nulls`` (:meth:`nulls`) that are shortcuts,
        and those of its own detectors trained on shuffled labels: where one is not at chance, there is nothing to judge."""
        run = self.study.run
        claim = run.paper.claim(claim_id)
        names = [n for sides in (claim.arms, claim.counterpart.arms) for n in (sides.treatment, sides.baseline)]
        rests_on = {*SHORTCUTS, *names, *(name + SHUFFLED for name in names)}
        if broken := [arm for arm, fine in nulls.items() if not fine and arm in rests_on]:
            leave(run, claim_id, f"not at chance within a place: {', '.join(broken)}")
            return
        measured = {name: self.samples(name, measure=measure) for name in names}
        if not self.real:
            run.judge(claim_id, {name: values.tolist() for name, values in measured.items()})
            return
        effect, control = (
            measured[one.treatment] - measured[one.baseline] for one in (claim.arms, claim.counterpart.arms)
        )
        run.record(claim.quantity, {name: [values[0]] for name, values in measured.items()})
        sides = {"effect": effect, "control": control, "excess": effect - control}
        tested = len({self.cases[0].documents[k].source for k in self.cases[0].test})
        run.judge_cases(claim_id, **{name: measures.interval(values) for name, values in sides.items()}, n=tested)


@dataclass
class Plan:
    """Who labels the sentences of the documents of one study."""

    study: Study
    cases: list[Sentences]

    def detect(self, arms: Sequence[str], *, shuffled: Sequence[str] = ()) -> Labelled:
        """Scores of ``arms``, and of those of ``shuffled`` once more, trained on shuffled labels of sentences."""
        found = Labelled(self.study, self.cases)
        for arm in dict.fromkeys([*arms, *shuffled]):
            sides = [False] * (arm in arms) + [True] * (arm in shuffled)
            trained = arm == LLM or (arm == SENTENCE and self.study.ground(self.cases[0].seed).encoder_base)
            scores = self._trained(arm, sides, found) if trained else [
                [self._cheap(arm, case, case.labels(shuffle=side)) for case in self.cases] for side in sides
            ]  # fmt: skip
            for side, one in zip(sides, scores, strict=True):
                found.scores[arm + SHUFFLED * side] = one
        return found

    def _cheap(self, arm: str, case: Sentences, labels: np.ndarray) -> np.ndarray:
        ground, inside = self.study.ground(case.seed), case.rows(case.train)
        own = labels[inside]
        if arm == "place":
            return baselines.shortcut(np.eye(case.place.max() + 1)[case.place], inside, own)
        if arm == "length":
            return baselines.shortcut(np.array([[len(s.split())] for s in case.said], dtype=float), inside, own)
        if arm == "bag_of_words":
            return baselines.bag_of_words(case.said, inside, own)
        if arm == SENTENCE:
            return baselines.embeddings(ground.alone["embedding"], inside, own)
        if arm == "sniffer":
            humans = [case.said[k] for k, label in zip(inside, own, strict=True) if not label]
            columns = [ground.sentence_scores["log_probability"], *baselines.count_models(case.said, humans)]
            return baselines.sniffer(baselines.contrasts(columns), inside, own, seed=case.seed)
        return baselines.threshold(ground.sentence_scores[arm], inside, own)

    def _given(self, case: Sentences, shuffle: bool) -> list[list[int]]:
        labels = case.labels(shuffle=shuffle)
        return [labels[case.rows([k])].tolist() for k in case.train]

    def _trained(self, arm: str, sides: Sequence[bool], found: Labelled) -> list[list[np.ndarray]]:
        jobs = [(case, side) for side in sides for case in self.cases]
        if arm == SENTENCE:
            said = self.study.classified(
                [(self._file(case), case.train, self._given(case, side), case.test, case.seed) for case, side in jobs]
            )
        else:
            models = self.models(sides)
            answers = self.study.answers(
                [(model, self._file(case), case.test, case.seed) for (case, _), model in zip(jobs, models, strict=True)]
            )
            said = [one.scores for one in answers]
            for (_, side), one in zip(jobs, answers, strict=True):
                found.invalid.setdefault(arm + SHUFFLED * side, []).append(one.invalid)
        rows = []
        for (case, _), one in zip(jobs, said, strict=True):
            scores = np.full(len(case.document), np.nan)
            for k, values in zip(case.test, one, strict=True):
                scores[case.rows([k])] = values
            rows.append(scores)
        return [rows[k * len(self.cases) : (k + 1) * len(self.cases)] for k in range(len(sides))]

    def _file(self, case: Sentences) -> Path:
        return self.study.ground(case.seed).mixed

    def models(self, sides: Sequence[bool]) -> list[Path]:
        """The detectors tuned on sentences, a replicate each, for each side."""
        return self.study.tuned(
            [
                (self.study.ground(case.seed).base, self._file(case), case.train, self._given(case, side), case.seed)
                for side in sides
                for case in self.cases
            ]
        )

    # ------------------------------------------------------------------ documents of a known share
    def by_share(self) -> Mapping[str, Mapping[str, Mapping[float, list[float]]]]:
        """measure -> arm or place -> polished share -> a value a replicate: the detector (not shuffled, as trained for the table)
        on documents of every share and place. ``found``: macro-F1 over the sentences; ``document``: share of documents in which
        a machine is found at all."""
        from papers.llm_detector.corpora import read_shares

        models = self.models([False, True])[: len(self.cases)]
        files = [self.study.ground(case.seed).shares for case in self.cases]
        documents = [read_mixed(file) for file in files]
        answers = self.study.answers(
            [(model, file, list(range(len(own))), case.seed)
             for model, file, own, case in zip(models, files, documents, self.cases, strict=True)]
        )  # fmt: skip
        values: dict[str, dict[str, dict[float, list[float]]]] = {"sentences": {}, "documents": {}}
        for file, own, answer in zip(files, documents, answers, strict=True):
            groups: dict[tuple[str, float], list[int]] = {}
            for k, (count, place) in enumerate(read_shares(file)):
                groups.setdefault((place, count / len(own[k].sentences)), []).append(k)
            for (place, share), members in sorted(groups.items()):
                scores = np.concatenate([answer.scores[k] for k in members])
                machine = np.concatenate([[label == MACHINE for label in own[k].labels] for k in members])
                f1 = measures.macro_f1(scores, machine, np.ones((1, len(scores))))[0]
                caught = float(np.mean([(answer.scores[k] > 0).any() for k in members]))
                values["sentences"].setdefault(place, {}).setdefault(share, []).append(float(f1))
                values["documents"].setdefault(place, {}).setdefault(share, []).append(caught)
        return values


def prepare(study: Study) -> Plan:
    """The mixed documents of every replicate, split by source."""
    told, cases = study.settings["sentences"], []
    for seed in study.run.seeds:
        documents = study.ground(seed).documents
        sources = sorted({one.source for one in documents})
        order = np.random.default_rng(stream_seed(study.run.base_of(seed), "split of documents")).permutation(
            len(sources)
        )
        training = {sources[k] for k in order[: round(told["share"] * len(sources))]}
        sides = [[k for k, one in enumerate(documents) if (one.source in training) == side] for side in (True, False)]
        cases.append(Sentences(seed, documents, *sides))
    return Plan(study, cases)


def about(plan: Plan) -> str:
    """Documents, sentences and who wrote them, of the first replicate."""
    case = plan.cases[0]
    return (
        f"{len(case.documents)} documents, {len(case.machine)} sentences, {case.machine.mean():.2f} of them by a machine; "
        f"{len(case.train)} documents train, {len(case.test)} test; labels {' and '.join(WRITTEN)}"
    )
