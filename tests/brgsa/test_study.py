"""The plan of the BrgSA experiments at smoke size: names joined, trees from sources, scores, and what is not retrained."""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from chat_server import completion, server
from sklearn.metrics import roc_auc_score

from lib.data import ct_rate, volumes
from lib.data.chest_ct import world as chest_ct_world
from lib.data.chest_ct.findings import LEXICON
from lib.data.files import DataError
from lib.workflow import paths
from lib.workflow.cache import CacheError
from lib.workflow.session import SessionError, start
from papers.brgsa import prepare as prepared
from papers.brgsa import rad_chestct
from papers.brgsa import study as brgsa
from papers.brgsa.model import score_variants
from papers.brgsa.summaries import RuleSummariser


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of its own; the process is left as it was found."""
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "CACHE", tmp_path_factory.mktemp("cache"))
        yield paths.CACHE
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)


def begin(**trees):
    """A run of two seeds on one base at the smoke settings, with some trees from a source."""
    run = start("brgsa", "tab_cmki_ablation", profile="smoke", seeds=2)
    run.settings = copy.deepcopy(run.settings) | {"bases": 1}
    run.settings["trees"].update({name: {"source": name} for name in trees})
    run.source = trees.__getitem__
    return run


@pytest.fixture(scope="module")
def study(cache):
    return brgsa.prepare(begin())


ARMS = {"nce": {"loss": brgsa.NCE}, "full": {}, "shuffled": {"shuffle": True}}


@pytest.fixture(scope="module")
def arms(study):
    return study.train(ARMS)


def built(cache):
    return {f"{folder.parent.name}/{folder.name}" for folder in cache.glob("*/*") if folder.is_dir()}


def new(cache, before):
    return {name.split("/")[0] for name in built(cache) - before}


# ---------------------------------------------------------------------- everything is joined by name
def test_row_k_of_everything_is_volume_k(study):
    test, tree = study.valid, study.valid.tree
    metadata = ct_rate.read_metadata(ct_rate.metadata_path(tree, "valid"))
    assert test.names == list(metadata) and len(test.names) == 60
    assert test.patients[:2] == ["valid_1", "valid_1"] and len(set(test.patients)) < 31
    labels = pd.read_csv(ct_rate.labels_path(tree, "valid")).set_index("VolumeName")
    tail = pd.read_csv(tree / "CT-RATE-LT-label.csv").set_index("VolumeName")
    reports = pd.read_csv(ct_rate.reports_path(tree, "valid")).set_index("VolumeName").fillna("")
    assert tuple(test.labels) == ct_rate.CT_RATE_LABELS and tuple(test.long_tail) == ct_rate.CT_RATE_LT_LABELS
    summarise = RuleSummariser(LEXICON)
    for k in (0, 7, 31, 59):
        name = test.names[k]
        report = f"{reports.loc[name, 'Findings_EN']} {reports.loc[name, 'Impressions_EN']}".strip()
        assert test.reports[k] == report
        assert (
            study.first.summaries[k] == " ".join(summarise(report))
            and study.first.statements[k] == summarise(report)[0]
        )
        assert test.labels.iloc[k].to_dict() == labels.loc[name].to_dict()
        assert test.long_tail.iloc[k].to_dict() == tail.loc[name].to_dict()
        hu = ct_rate.load_volume(tree, name, metadata[name], **study.settings["grid"])
        np.testing.assert_array_equal(test.volumes[k], volumes.normalise(hu).astype(np.float16))


@pytest.mark.parametrize("style", ["summary", "raw"])
def test_pairs_hold_the_volumes_of_their_own_report(study, style):
    listed = json.loads((study.first.pairs(style) / "pairs.json").read_text())
    names = json.loads((study.first.train_folder / "names.json").read_text())
    reports = ct_rate.images_by_report(ct_rate.read_reports(ct_rate.reports_path(study.first.train_tree, "train")))
    assert len(listed) == len(reports) and sorted(row for pair in listed for row in pair["rows"]) == list(range(48))
    make = prepared.sentences if style == "raw" else RuleSummariser(LEXICON)
    for pair, (report, images) in zip(listed, reports.items(), strict=True):
        assert [names[row] for row in pair["rows"]] == images and pair["statements"] == make(report)


def test_noisy_summaries_differ_from_the_oracle_s(study):
    noisy, plain = (json.loads((study.first.pairs(style) / "pairs.json").read_text()) for style in ("noisy", "summary"))
    assert [pair["rows"] for pair in noisy] == [pair["rows"] for pair in plain] and noisy != plain


def test_external_labels_are_the_union_of_their_source_columns(study):
    table = pd.read_csv(study.external.tree / "merged_abnormality_labels_with_id.csv").set_index("NoteAcc_DEID")
    labels = study.external.labels
    assert study.external.names == list(table.index) == list(labels.index)
    assert tuple(labels) == rad_chestct.RAD_LABELS and len(labels.columns) == 16
    assert "Mosaic attenuation pattern" not in labels and "Calcification" in labels
    np.testing.assert_array_equal(labels["Lung nodule"], table[["nodule", "nodulegr1cm"]].any(axis=1))
    np.testing.assert_array_equal(labels["Hiatal hernia"], table["hernia"])
    devices = list(rad_chestct.RAD_SOURCES["Medical material"])
    np.testing.assert_array_equal(labels["Medical material"], table[devices].any(axis=1))


# ---------------------------------------------------------------------- trees from sources
def scramble(path, seed):
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    rng = np.random.default_rng(seed)
    columns = [table.columns[0], *rng.permutation(table.columns[1:])]
    table.iloc[rng.permutation(len(table))][columns].to_csv(path, index=False)


def test_the_order_of_rows_and_columns_in_the_csv_files_changes_no_auc(study, arms, cache, tmp_path):
    tree = shutil.copytree(study.valid.tree, tmp_path / "scrambled")
    files = [find(tree, "valid") for find in (ct_rate.labels_path, ct_rate.reports_path, ct_rate.metadata_path)]
    for seed, path in enumerate([*files, tree / "CT-RATE-LT-label.csv"]):
        before = path.read_bytes()
        scramble(path, seed)
        assert path.read_bytes() != before
    known = built(cache)
    other = brgsa.prepare(begin(valid=tree))
    assert other.valid.names != study.valid.names and sorted(other.valid.names) == sorted(study.valid.names)
    found = other.train({"full": {}})["full"]
    for test in ("frequent", "frequent_as_report", "tail"):
        assert other.auc(found, test=test) == pytest.approx(study.auc(arms["full"], test=test), abs=1e-9)
    assert new(cache, known) <= {"prepare_ct_rate", "summarise_by_rule", "compute_frozen_tokens", "embed_arm"}
    rolled = np.roll(study.valid.labels.to_numpy(), 7, axis=0)  # what a join by position would do shows
    shown = brgsa.scores(arms["full"][0])
    assert np.nanmean(brgsa.auc_per_class(rolled, shown)) != pytest.approx(study.auc(arms["full"])[0], abs=1e-3)


def test_trees_from_sources_are_used_and_nothing_is_generated(study, cache, tmp_path):
    """As the real CT-RATE: both splits under one root, which serves pretraining too."""
    root = shutil.copytree(study.first.train_tree, tmp_path / "dataset", ignore=shutil.ignore_patterns("artefact.json"))
    shutil.copytree(study.valid.tree, root, ignore=shutil.ignore_patterns("artefact.json"), dirs_exist_ok=True)
    outside = shutil.copytree(study.external.tree, tmp_path / "rad")
    known = built(cache)
    other = brgsa.prepare(begin(pretrain=root, train=root, valid=root, external=outside))
    assert not {"write_internal", "write_external"} & new(cache, known)
    assert (other.first.train_tree, other.valid.tree, other.external.tree) == (root, root, outside)
    pd.testing.assert_frame_equal(other.valid.labels, study.valid.labels)
    pd.testing.assert_frame_equal(other.external.labels, study.external.labels)
    np.testing.assert_array_equal(other.valid.volumes, study.valid.volumes)
    assert other.valid.reports == study.valid.reports
    assert (other.first.pairs("summary") / "pairs.json").read_text() == (
        study.first.pairs("summary") / "pairs.json"
    ).read_text()


def test_a_tree_that_does_not_exist_is_told(cache, tmp_path):
    with pytest.raises(CacheError, match=r"absent does not exist, .*correct the path") as error:
        brgsa.prepare(begin(valid=tmp_path / "absent"))
    assert "\n" not in str(error.value)


def test_a_volume_without_a_label_row_is_told(study, tmp_path):
    tree = shutil.copytree(study.valid.tree, tmp_path / "short")
    path = ct_rate.labels_path(tree, "valid")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match=rf"valid_predicted_labels\.csv.*{study.valid.names[-1]}"):
        brgsa.prepare(begin(valid=tree))


def test_a_test_volume_with_a_blank_report_is_told(study, tmp_path):
    tree = shutil.copytree(study.valid.tree, tmp_path / "blank")
    path, name = ct_rate.reports_path(tree, "valid"), study.valid.names[2]
    reports = ct_rate.read_reports(path)
    reports.loc[name] = ("", " ")
    reports.reset_index().to_csv(path, index=False)
    with pytest.raises(DataError, match=rf"validation_reports\.csv: 1 reports are blank, first that of {name}; take"):
        brgsa.prepare(begin(valid=tree))


# ---------------------------------------------------------------------- arms
def test_arms_come_in_seed_order_and_are_trained_once(study, arms, cache):
    assert {name: [arm.seed for arm in listed] for name, listed in arms.items()} == {name: [0, 1] for name in ARMS}
    known = built(cache)
    again = study.train({"full": {}, "the same": {"loss": brgsa.FULL, "bank": {"scale": 1.0}}})
    assert built(cache) == known
    for name in ("full", "the same"):
        assert [arm.folder for arm in again[name]] == [arm.folder for arm in arms["full"]]
    assert len({arm.folder for listed in arms.values() for arm in listed}) == 6
    study.train({"linear": {"bank": {"linear": True}}})
    assert new(cache, known) == {"train_arm", "embed_arm"}


def test_an_arm_differs_from_the_full_model_in_what_it_names_only(study, arms):
    options = {name: listed[0].options for name, listed in arms.items()}
    assert options["nce"] == {**options["full"], "loss": brgsa.NCE}
    assert options["shuffled"] == {**options["full"], "shuffle": True}
    assert options["full"]["bank"] == study.settings["bank"]
    assert study._options({"bank": {"size": 8}})["bank"] == {**study.settings["bank"], "size": 8}


def test_stored_vectors_are_those_of_the_loaded_model(study, arms):
    arm = arms["full"][1]
    net = study.load(arm)
    with torch.no_grad():
        texts = [f"There is {name}" for name in study.external.labels]
        shared = net.encode_text(**net.text.tokenize(texts))
        volume = torch.from_numpy(np.asarray(study.external.volumes[:3], dtype=np.float32))[:, None]
        v = net.encode_image(net.frozen_tokens(volume))
    np.testing.assert_allclose(arm.vectors["shared"], shared.numpy(), atol=1e-5)
    np.testing.assert_allclose(arm.vectors["external"][:3], v.numpy(), atol=0.02)  # tokens are kept in float16
    assert len(arm.image) == len(arm.report) == len(arm.vectors["summaries"]) == 60
    moved = study.load(arm, shuffle_positions=0)
    assert not torch.equal(moved.image.positions, net.image.positions)


# ---------------------------------------------------------------------- measuring
@pytest.mark.parametrize("test, images", [("frequent", "valid"), ("tail", "valid"), ("shared", "external")])
@pytest.mark.parametrize("variant", ["vt", "v^t", "vt^", "v^t^", "mean"])
def test_scores_are_the_cosines_of_the_release_and_auc_is_scikit_learn_s(study, arms, test, images, variant):
    arm = arms["full"][0]
    tensors = [torch.from_numpy(arm.vectors[name]) for name in (images, f"{images}_hat", test, f"{test}_hat")]
    expected = score_variants(*tensors)[variant].numpy()
    found = brgsa.scores(arm, images, test, variant=variant)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    labels = {"tail": study.valid.long_tail, "shared": study.external.labels}.get(test, study.valid.labels)
    per_class = study.auc_per_class(arm, test=test, variant=variant)
    for k, name in enumerate(labels):
        if labels[name].nunique() == 2:
            assert per_class[k] == pytest.approx(roc_auc_score(labels[name], found[:, k]))
        else:
            assert np.isnan(per_class[k])
    assert study.auc([arm], test=test, variant=variant) == pytest.approx([np.nanmean(per_class)])


def test_the_same_grid_gives_the_same_auc_and_another_grid_reads_other_volumes(study, arms, cache):
    arm, shape = arms["full"], study.settings["grid"]["shape"]
    expected = study.auc(arm)
    assert study.other_grid(shape, arm) == pytest.approx(expected, abs=0.01)  # tokens are kept in float16
    assert study.other_grid(shape, arm, resample=True) == pytest.approx(expected, abs=0.01)
    known = built(cache)
    values = study.other_grid([30, 30, 15], arm), study.other_grid([30, 30, 15], arm, resample=True)
    assert values[0] != values[1] and new(cache, known) == {"prepare_ct_rate"}
    name, tree = study.valid.names[0], study.valid.tree
    row = ct_rate.read_metadata(ct_rate.metadata_path(tree, "valid"))[name]
    found = [prepared.read_volumes(cache / folder)[0][0] for folder in built(cache) - known]
    for target in ((9.6, 9.6, 19.2), (12.8, 12.8, 25.6)):  # the centre, and the same 384 mm in fewer voxels
        hu = ct_rate.load_volume(tree, name, row, target_spacing=target, shape=(30, 30, 15))
        assert any(np.array_equal(volumes.normalise(hu).astype(np.float16), volume) for volume in found)


def test_attention_cases_show_the_finding_where_it_was_drawn(study, arms):
    findings = [name for name in study.valid.labels if study.valid.labels[name].sum() > 2][:3]
    cases = study.attention_cases(arms["full"][0], findings, cases=2)
    assert {case.finding for case in cases} == set(findings) and len(cases) <= 6
    metadata = ct_rate.read_metadata(ct_rate.metadata_path(study.valid.tree, "valid"))
    for case in cases:
        row = study.valid.names.index(case.name)
        assert study.valid.labels[case.finding].iloc[row] == 1 and case.name.endswith("_1.nii.gz")
        assert case.map.shape == case.mask.shape == case.volume.shape == tuple(study.settings["grid"]["shape"])
        np.testing.assert_array_equal(case.volume, study.valid.volumes[row].astype(np.float32))
        assert (case.map >= 0).all() and case.map.max() > 0
        drawn = chest_ct_world.read_masks(study.valid.tree, case.name)[case.finding]
        # the mask went the way of the volume: drawn in HU, it comes out of the image pipeline at the same voxels
        bright = np.where(drawn, 1000, -1000).astype(np.float32)
        geometry = volumes.Geometry(metadata[case.name].spacing)
        seen = volumes.preprocess_volume(bright, geometry, **study.settings["grid"])
        assert case.mask.any() and np.mean(case.mask != (seen > 0)) < 1e-3
        z = int(case.mask.sum(axis=(0, 1)).argmax())
        np.testing.assert_array_equal(case.slice_of(case.volume), case.volume[:, :, z].T)


def test_outputs_stay_in_the_cache(study, arms, cache):
    folders = [study.first.encoder, Path(study.first.text), study.first.train_folder, *study.first.sources.values()]
    assert all(folder.is_relative_to(cache) for folder in folders)
    assert all(arm.folder.is_relative_to(cache) for listed in arms.values() for arm in listed)


def test_a_profile_with_chat_summarises_with_it_and_keeps_the_rules_for_the_noisy_arm(study, cache, tmp_path):
    settings = {**study.settings, "chat": {"model": "stub", "answers": str(tmp_path / "answers")}}
    known = built(cache)
    with server(completion("There is cardiomegaly.")) as (address, _):
        settings["chat"]["url"] = address
        summary = brgsa.data.report_pairs(
            study.run, study.first.train_tree, study.first.train_folder, "summary", settings
        )
        raw = brgsa.data.report_pairs(study.run, study.first.train_tree, study.first.train_folder, "raw", settings)
    said = {s for pair in json.loads((summary / "pairs.json").read_text()) for s in pair["statements"]}
    assert said == {"There is cardiomegaly"} and {"summarise_by_chat", "write_pairs"} == new(cache, known)
    assert (raw / "pairs.json").read_text() == (study.first.pairs("raw") / "pairs.json").read_text()
    noisy = brgsa.data.report_pairs(study.run, study.first.train_tree, study.first.train_folder, "noisy", settings)
    assert noisy == study.first.pairs("noisy")


def test_a_bank_is_an_initialisation_and_a_scale():
    assert brgsa.bank(32, "orthogonal x4") == {"size": 32, "initialisation": "orthogonal", "scale": 4.0}
    assert brgsa.bank(8, "gaussian")["scale"] == 1.0
    for start_ in ("orthogonl", "orthogonal x", "orthogonal xfour", "orthogonal x0", "orthogonal xnan", ""):
        with pytest.raises(SessionError, match=f"^'{start_}' starts no bank; write one of orthogonal, gaussian"):
            brgsa.bank(32, start_)
