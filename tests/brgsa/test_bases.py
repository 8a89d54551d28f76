"""Two bases at smoke size: what each has of its own, how seeds go round them, and what pretraining is told."""

import numpy as np
import pytest
import torch

from lib.data.chest_ct.findings import LEXICON
from lib.workflow import paths
from lib.workflow.session import start
from papers.brgsa import study as brgsa
from papers.brgsa.prompts import OWN_WORDS, PROMPT
from papers.brgsa.summaries import RuleSummariser


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Seeds 3, 4 and 7 on two bases, in a cache of their own."""
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "CACHE", tmp_path_factory.mktemp("cache"))
        yield brgsa.prepare(start("brgsa", "tab_cmki_ablation", profile="smoke", seeds=[3, 4, 7]))
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def arms(study):
    return study.train({"nce": {"loss": brgsa.NCE}, "untrained": {"loss": brgsa.NCE, "steps": 0}})


def test_every_base_has_trees_an_encoder_and_test_sets_of_its_own(study):
    one, two = study.bases.values()
    assert list(study.bases) == [3, 4] and study.first is one
    for name in ("train_tree", "train_folder", "encoder", "text"):
        assert getattr(one, name) != getattr(two, name)
    assert one.valid.tree != two.valid.tree and one.external.tree != two.external.tree
    assert one.valid.reports != two.valid.reports
    assert not np.array_equal(one.valid.volumes[0], two.valid.volumes[0])
    weights = [(base.encoder / "vit.safetensors").read_bytes() for base in (one, two)]
    assert weights[0] != weights[1]


def test_the_trees_of_a_base_are_streams_of_their_own(study):
    """The pretraining scans are not the training scans, though both are a train split of one seed."""
    base = study.first
    reports = {
        name: [path.read_text() for path in tree.glob("radiology_text_reports/*.csv")]
        for name, tree in brgsa.data.trees(study.run, study.settings, seed=base.seed).items()
        if name != "external"
    }
    assert len({str(text) for text in reports.values()}) == 3


def test_seeds_go_round_the_bases_and_are_measured_there(study, arms):
    assert [(arm.seed, arm.base) for arm in arms["nce"]] == [(3, 3), (4, 4), (7, 3)]
    assert [study.base(arm).seed for arm in arms["nce"]] == study.run.bases == [3, 4, 3]
    for arm in arms["nce"]:
        test = study.base(arm).valid
        assert len(arm.image) == len(test.names) and len(arm.vectors["frequent_absent"]) == test.labels.shape[1]
    alone = [study.auc([arm])[0] for arm in arms["nce"]]
    assert study.auc(arms["nce"]) == alone and len(set(alone)) == 3


def test_an_untrained_arm_is_the_start_of_the_trained_one(study, arms):
    trained, start_ = (study.load(arms[name][0]).state_dict() for name in ("nce", "untrained"))
    same = {name for name in trained if torch.equal(trained[name], start_[name])}
    assert "image.blocks.0.qkv.weight" in same and "global_embedder.weight" not in same
    assert (arms["untrained"][0].folder / "losses.json").read_text() == "[]"


def test_contrast_scores_order_volumes_as_the_softmax_of_two_prompts(arms):
    arm = arms["nce"][0]
    present, absent = (brgsa.scores(arm, "valid", "frequent" + end, variant="vt") for end in ("", "_absent"))
    softmax = np.exp(present) / (np.exp(present) + np.exp(absent))
    found = brgsa.scores(arm, variant="contrast")
    assert (np.argsort(found, axis=0) == np.argsort(softmax, axis=0)).mean() > 0.99


# ---------------------------------------------------------------------- words
def test_words_of_our_own_come_from_no_lexicon(study):
    assert list(OWN_WORDS) and set(OWN_WORDS) == set(study.valid.labels)
    summarise = RuleSummariser(LEXICON)
    for name, words in OWN_WORDS.items():
        assert summarise.findings(PROMPT.format(words)) == [] and name.lower() not in words.lower()


def test_quoted_statements_keep_the_words_of_the_report():
    report = "An enlarged heart is seen. Pleural fluid is noted. No emphysema. Cardiomegaly."
    lexicon = {"Cardiomegaly": ("cardiomegaly", "enlarged heart"), "Pleural effusion": ("pleural fluid",)}
    assert RuleSummariser(lexicon, quote=True)(report) == ["There is enlarged heart", "There is Pleural fluid"]
    assert RuleSummariser(lexicon)(report) == ["There is Cardiomegaly", "There is Pleural effusion"]
    assert RuleSummariser(lexicon, quote=True)("No emphysema.") == RuleSummariser(lexicon)("No emphysema.")
