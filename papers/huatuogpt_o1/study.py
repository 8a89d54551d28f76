"""What the notebooks of HuatuoGPT-o1 ask for: verifiers measured on generated judgements, released records, texts of test sets.

found = verifiers_measured(run); found["balanced accuracy"]["trained_classifier"]      # one value a seed
"""

from __future__ import annotations

import numpy as np

from lib.data.exams import MEDICAL, read_exam
from lib.data.files import read_json
from lib.workflow.session import Run
from papers.huatuogpt_o1.classifier import train_verifier
from papers.huatuogpt_o1.judgements import read_judgements, write_judgements
from papers.huatuogpt_o1.records import EXAM, SFT, VERIFIABLE, Record, read_records
from papers.huatuogpt_o1.verifiers import AliasTable, ExactMatch, SequenceClassifier, rates

EXACT, ALIASES, TRAINED, PERMUTED = "exact_match", "alias_table", "trained_classifier", "classifier_permuted_reference"


def released_records(run: Run) -> list[Record]:
    """The 198 records of ``demo_data.json``."""
    return read_records(run.source("records") / "data" / "demo_data.json", EXAM, VERIFIABLE, SFT)


def evaluation_texts(run: Run) -> dict[str, list[str]]:
    """Questions of two real test sets by name: PubMedQA (with the abstract) and the medical subjects of MMLU."""
    abstracts = read_json(run.source("pubmedqa") / "ori_pqal.json").values()
    exam = read_exam("MMLU", run.source("exams") / "evaluation" / "mmlu")
    return {
        "PubMedQA": [" ".join([one["QUESTION"], *one["CONTEXTS"]]) for one in abstracts],
        "MMLU medical": [" ".join([q.text, *q.options]) for q in exam.select("test", subjects=MEDICAL["MMLU"])],
    }


def verifiers_measured(run: Run) -> dict[str, dict[str, list[float]]]:
    """Measure -> verifier -> one value a seed, on judgements that no verifier was trained on.

    With permuted references the same classifier is shown those of other responses.
    """
    told = run.settings["verifier"]
    seeds = [run.base_of(seed) for seed in run.seeds]
    parts = {
        part: run.build_all(
            write_judgements,
            [{"sizes": run.settings["world"], "count": count, "seed": seed, "part": part} for seed in seeds],
        )
        for part, count in told["judgements"].items()
    }
    plan = [
        {"judgements": folder, "seed": seed, "template": told["template"], **told["fit"]}
        for folder, seed in zip(parts["train"], seeds, strict=True)
    ]
    trained = run.build_all(train_verifier, plan)
    measured: dict[str, dict[str, list[float]]] = {}
    for number, folder in enumerate(parts["test"]):
        rows, aliases = read_judgements(folder)
        judged = ([row.response for row in rows], [row.reference for row in rows])
        classifier = SequenceClassifier(trained[number], template=told["template"])
        verdicts = {
            verifier: one.verify(*judged) for verifier, one in [(EXACT, ExactMatch()), (ALIASES, AliasTable(aliases))]
        }
        verdicts[TRAINED] = classifier.verify(*judged)
        verdicts[PERMUTED] = classifier.verify(judged[0], judged[1][1:] + judged[1][:1])
        for name, said in verdicts.items():
            for measure, value in rates(said, np.array([row.right for row in rows])).items():
                measured.setdefault(measure, {}).setdefault(name, []).append(value)
    return measured
