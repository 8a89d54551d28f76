"""OpenCompass results: the released CSVs rebuild the README's table; their traps, set again on generated files."""

import numpy as np
import pandas as pd
import pytest
from released_files import released

from lib.data.files import DataError
from papers.machine_mindset.opencompass import (
    BENCHMARKS,
    GAOKAO_POINTS,
    agrees,
    benchmark_table,
    read_results,
    written_averages,
    written_table,
)

# Machine Mindset's README table (mmlu-weighted, MMLU-w, is in the CSVs only).
README = """
type C-Eval CMMLU MMLU MMLU-w AGIEval GAOKAO GSM8K MATH
ENFJ 29.31 17.28 3.25 3.70 4.45 11.25 2.58 0.20
ENFP 9.28 3.82 0.34 0.96 3.28 2.79 2.50 0.26
ENTJ 26.97 14.21 1.22 1.43 4.76 2.95 2.12 0.24
ENTP 30.92 21.47 0.77 1.22 5.95 4.11 2.58 0.20
ESFJ 30.07 14.57 8.07 7.83 7.43 5.66 2.73 0.24
ESFP 29.71 7.22 4.96 4.89 8.67 12.54 - 2.44
ESTJ 25.43 18.82 0.82 1.38 2.48 2.36 2.81 0.12
ESTP 29.97 20.60 3.38 5.09 7.20 8.67 2.65 0.28
INFJ 29.65 21.05 0.44 1.12 3.84 4.84 3.03 0.28
INFP 28.49 14.51 8.43 7.55 10.06 10.22 1.97 2.60
INTJ 16.34 10.06 0.28 0.95 3.55 1.96 2.05 0.38
INTP 30.51 19.09 1.79 2.20 4.42 2.94 2.58 0.30
ISFJ 28.23 12.01 1.37 1.73 7.06 7.62 3.26 0.24
ISFP 28.52 14.03 1.07 1.72 4.95 4.35 2.27 0.18
ISTJ 27.19 17.45 1.39 1.90 3.49 2.33 - 0.20
ISTP 29.52 12.28 1.49 1.77 4.57 9.26 - 0.24
"""


@pytest.fixture(scope="module")
def readme():
    header, *rows = [line.split() for line in README.strip().splitlines()]
    return pd.DataFrame(rows, columns=header).set_index("type").replace("-", np.nan).astype(float)


@pytest.fixture(scope="module")
def results():
    return read_results(released("machine_mindset", "results") / "results")


def test_readme_table_is_what_the_files_say_112_of_112(results, readme):
    written = written_table(results)
    assert list(written.columns) == list(BENCHMARKS) and list(written.index) == list(readme.index)
    printed = readme[list(BENCHMARKS)]
    assert int(((written == printed) | (written.isna() & printed.isna())).to_numpy().sum()) == 112
    assert int(printed.isna().to_numpy().sum()) == 3
    pd.testing.assert_series_equal(written_averages(results)["mmlu-weighted"], readme["MMLU-w"], check_names=False)


def test_readme_table_follows_from_the_subjects_112_of_112(results, readme):
    rebuilt, printed = benchmark_table(results), readme[list(BENCHMARKS)]
    assert agrees(rebuilt, printed).to_numpy().sum() == 112
    # Subjects are printed to two decimals, so two averages round to the neighbour of the printed value and none
    # further.
    apart = (rebuilt.round(2) - printed).abs() > 1e-9
    assert sorted(zip(*np.where(apart), strict=True)) == [(4, 1), (15, 4)]  # ESFJ CMMLU, ISTP GAOKAO
    assert (rebuilt - printed).abs().max().max() < 0.0053


def subject_table(frame, benchmark):
    """Scores of one benchmark's subjects: types as index, subjects as columns, per cent."""
    rows = frame[(frame["benchmark"] == benchmark) & ~frame["average"]]
    return rows.pivot(index="type", columns="dataset", values="score")


def test_no_other_definition_of_an_average_fits(results, readme):
    """Weighted MMLU, all 32 GAOKAO subsets, 14 unweighted, and agieval-math as MATH each miss the README."""
    gaokao = subject_table(results, "GAOKAO")
    others = {
        "MMLU": written_averages(results)["mmlu-weighted"],
        "GAOKAO": gaokao.mean(axis=1),
        "MATH": subject_table(results, "AGIEval")["agieval-math"],
    }
    for name, other in others.items():
        assert agrees(other.to_frame(name), readme[[name]]).sum().item() <= 2
    assert agrees(gaokao[list(GAOKAO_POINTS)].mean(axis=1).to_frame("GAOKAO"), readme[["GAOKAO"]]).sum().item() <= 2
    assert (gaokao.drop(columns=list(GAOKAO_POINTS)) == 0).all().all()  # open questions: never marked


def test_one_wrong_subject_is_noticed(results, readme):
    changed = results.copy()
    changed.loc[(changed["type"] == "INTJ") & (changed["dataset"] == "ceval-accountant"), "score"] += 1.5
    wrong = ~agrees(benchmark_table(changed), readme[list(BENCHMARKS)])
    assert wrong.to_numpy().sum() == 1 and wrong.loc["INTJ", "C-Eval"]


def test_released_files_are_tidied(results):
    assert len(results) == 16 * 254 + 1 and results["type"].nunique() == 16
    missing = results[results["score"].isna()]
    assert sorted(zip(missing["type"], missing["dataset"], strict=True)) == [
        *(("ENFP", "openai_humaneval"), ("ESFP", "gsm8k"), ("ISTJ", "gsm8k"), ("ISTP", "gsm8k")),
    ]
    assert results.groupby("type")["average"].sum().eq(23).all()
    versions = results.dropna(subset="version").groupby("dataset")["version"].agg(lambda v: set(v))
    for dataset, version in {
        "agieval-gaokao-physics": "7704e3",
        "ceval-accountant": "002837",
        "lukaemon_mmlu_high_school_psychology": "440e96",
    }.items():
        assert versions[dataset] == {version}
        assert results.loc[results["dataset"] == dataset, "version"].notna().sum() == 16
    counts = {name: subject_table(results, name).shape[1] for name in BENCHMARKS}
    assert counts == {"C-Eval": 52, "CMMLU": 67, "MMLU": 57, "AGIEval": 21, "GAOKAO": 32, "GSM8K": 1, "MATH": 1}
    zeros = (subject_table(results, "MMLU") == 0).sum(axis=1)
    assert zeros["INTJ"] == 51 and zeros["INFP"] == 3 and zeros.min() == 3 and zeros.max() == 51


def summary(type_, *, seed=0):
    """A complete summary in the released format, and the averages that follow from its subjects."""
    rng = np.random.default_rng([seed, *map(ord, type_)])
    lines, truth = [], {}

    def add(dataset, score, *, version="a1b2c3", metric="accuracy"):
        lines.append([dataset, version, metric, "gen", f"{score:.2f}"])

    for name, prefix, count in (("C-Eval", "ceval-", 52), ("CMMLU", "cmmlu-", 67), ("MMLU", "lukaemon_mmlu_", 57)):
        scores = rng.uniform(0, 40, count).round(2)
        truth[name] = scores.mean()
        for k, score in enumerate(scores):
            add(f"{prefix}subject_{k}", score)
    scores = rng.uniform(0, 40, 21).round(2)
    truth["AGIEval"] = scores.mean()
    for k, score in enumerate(scores):
        add("agieval-math" if k == 0 else f"agieval-task-{k}", score)
    points = {name: rng.uniform(0, 20).__round__(2) for name in GAOKAO_POINTS}
    truth["GAOKAO"] = sum(points[n] * GAOKAO_POINTS[n] for n in points) / sum(GAOKAO_POINTS.values())
    for name, score in points.items():
        add(name, score, metric="score")
    for k in range(18):
        add(f"GaokaoBench_open_{k}", 0, metric="score")
    for dataset, name in (("gsm8k", "GSM8K"), ("math", "MATH")):
        truth[name] = rng.uniform(0, 5).__round__(2)
        add(dataset, truth[name])
    # Averages that no subject could give: were they counted as subjects, every benchmark would be far off.
    for dataset in (
        "ceval",
        "ceval-stem",
        "ceval-hard",
        "cmmlu",
        "cmmlu-china-specific",
        "mmlu",
        "mmlu-stem",
        "agieval",
    ):
        add(dataset, 99, version="-", metric="naive_average")
    add("mmlu-weighted", 98, version="-", metric="weighted_average")
    add("GaokaoBench", 97, version="-", metric="weighted_average")
    return lines, truth


def write(folder, type_, lines):
    folder.mkdir(exist_ok=True)
    header = f"dataset,version,metric,mode,opencompass.models.x_{type_}"
    (folder / f"{type_}.csv").write_text("\n".join([header, *(",".join(line) for line in lines)]) + "\n")


def line_of(lines, dataset):
    return next(line for line in lines if line[0] == dataset)


def test_averages_are_those_of_the_subjects_whatever_the_row_order(tmp_path):
    truths = {}
    for k, type_ in enumerate(("ENFJ", "ISTP")):
        lines, truths[type_] = summary(type_)
        write(tmp_path, type_, [lines[i] for i in np.random.default_rng(k).permutation(len(lines))])
    table = benchmark_table(read_results(tmp_path))
    pd.testing.assert_frame_equal(table, pd.DataFrame(truths).T[list(BENCHMARKS)], check_names=False, rtol=1e-12)
    assert written_table(read_results(tmp_path)).loc["ENFJ", "C-Eval"] == 99


def test_number_format_does_not_matter(tmp_path):
    lines, _ = summary("ENFJ")
    line_of(lines, "math")[4] = "0.20"
    write(tmp_path, "ENFJ", lines)
    one = benchmark_table(read_results(tmp_path))
    line_of(lines, "math")[4] = "0.2"
    write(tmp_path, "ENFJ", lines)
    pd.testing.assert_frame_equal(one, benchmark_table(read_results(tmp_path)))


def test_mangled_versions_are_restored_only_from_intact_files(tmp_path):
    for type_, mangled in (("ENFJ", False), ("ENTJ", True), ("INFP", True)):
        lines, _ = summary(type_)
        line_of(lines, "gsm8k")[1] = "7.70E+06" if mangled else "7704e3"
        line_of(lines, "math")[1] = "2837"  # in every file: nothing to restore it from
        write(tmp_path, type_, lines)
    frame = read_results(tmp_path)
    assert frame.loc[frame["dataset"] == "gsm8k", "version"].tolist() == ["7704e3"] * 3
    assert frame.loc[frame["dataset"] == "math", "version"].isna().all()


def test_files_of_two_versions_are_not_compared(tmp_path):
    for type_, version in (("ENFJ", "7704e3"), ("ENTJ", "7704e4")):
        lines, _ = summary(type_)
        line_of(lines, "gsm8k")[1] = version
        write(tmp_path, type_, lines)
    with pytest.raises(DataError, match=r"disagree on the version of 'gsm8k' \(7704e3, 7704e4\)"):
        read_results(tmp_path)


def test_a_dash_is_missing_and_an_extra_row_is_no_benchmark(tmp_path):
    lines, truth = summary("ENFJ")
    line_of(lines, "gsm8k")[1:] = ["-", "-", "-", "-"]
    line_of(lines, "ceval-subject_3")[4] = "-"
    write(tmp_path, "ENFJ", [*lines, ["openai_humaneval", "-", "-", "-", "-"]])
    frame = read_results(tmp_path)
    table = benchmark_table(frame)
    assert table.columns[table.isna().loc["ENFJ"]].tolist() == ["C-Eval", "GSM8K"]
    assert table.loc["ENFJ", "MATH"] == truth["MATH"]
    assert frame.loc[frame["dataset"] == "openai_humaneval", "benchmark"].isna().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines.remove(line_of(lines, "ceval-subject_3")), r"51 C-Eval rows where 52"),
        (lambda lines: lines.remove(line_of(lines, "math")), r"no MATH row"),
        (lambda lines: lines.append(line_of(lines, "math")), r"line \d+ repeats the dataset 'math'"),
        (lambda lines: line_of(lines, "math").__setitem__(4, "n/a"), r"'math' holds 'n/a', neither"),
        (lambda lines: line_of(lines, "math").__setitem__(4, "nan"), r"'math' holds 'nan', neither"),
        (lambda lines: line_of(lines, "math").__setitem__(4, "1_5"), r"'math' holds '1_5', neither"),
        (lambda lines: line_of(lines, "math").__setitem__(4, "101"), r"'math' holds '101', neither"),
        (lambda lines: line_of(lines, "math").pop(), r"line \d+ has 4 fields where the header has 5"),
    ],
)
def test_damaged_results_end_in_one_sentence(tmp_path, change, message):
    lines, _ = summary("ENFJ")
    change(lines)
    write(tmp_path, "ENFJ", lines)
    with pytest.raises(DataError, match=message) as caught:
        benchmark_table(read_results(tmp_path))
    assert "ENFJ.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_of_another_model_or_an_empty_folder_is_refused(tmp_path):
    lines, _ = summary("INTJ")
    write(tmp_path, "INTJ", lines)
    (tmp_path / "INTJ.csv").rename(tmp_path / "INFJ.csv")
    with pytest.raises(DataError, match=r"holds the scores of 'opencompass.models.x_INTJ', not of INFJ"):
        read_results(tmp_path)
    header, *rows = (tmp_path / "INFJ.csv").read_text().splitlines()
    (tmp_path / "INFJ.csv").write_text("\n".join([f"{header},x_INFJ", *(f"{row},1" for row in rows)]))
    with pytest.raises(DataError, match=r"has 2 model columns where one is expected"):
        read_results(tmp_path)
    with pytest.raises(DataError, match="no result CSV"):
        read_results(tmp_path / "nowhere")
