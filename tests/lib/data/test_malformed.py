"""Damaged tables, JSON, volumes and metadata: each ends in one sentence that names the file, or in the right value."""

import csv
import gzip
import io
import json
import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data import ct_rate, files
from lib.data.files import DataError, read_csv, read_json, read_json_lines, to_number, write_json_lines
from lib.data.volumes import AXIAL, Geometry

MANY = settings(max_examples=400, deadline=None, derandomize=True)
BITS = [
    "",
    ",",
    '"',
    "\n",
    "\r",
    "\0",
    "\ufeff",
    "é",
    "{",
    "}",
    "[",
    "]",
    ":",
    "\\",
    "\\ud83d",
    '"a":1,',
    "NaN",
    "9" * 5000,
    "0x1",
    "1_0",
]
DAMAGE = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.sampled_from([*BITS, *"xyz "])), max_size=3)
ENDS = st.sampled_from(["as it is", "as it is", "cut off", "latin-1", "utf-16", "byte order mark", "zeros"])


def damaged(text, damage, end):
    """The text with pieces replaced, and its last part as transfers and editors leave it."""
    for place, length, piece in damage:
        at = int(place * len(text))
        text = text[:at] + piece + text[at + length :]
    coding = {"latin-1": "latin-1", "utf-16": "utf-16", "byte order mark": "utf-8-sig"}.get(end, "utf-8")
    content = text.encode(coding, "replace")
    return content[: len(content) * 2 // 3] if end == "cut off" else content + bytes(40) * (end == "zeros")


def outcome(read, path):
    """What was read, or None after one sentence that names the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read()
        except DataError as error:
            said = str(error)
            assert str(path) in said and "\n" not in said and said.endswith(".") and (";" in said or ":" in said), said
            said.encode()
            return None


def told(what, count):
    print(f"{what}: {sum(count.values())} inputs, {count[False]} refused, {count[True]} read")
    assert sum(count.values()) >= 300 and min(count[True], count[False]) >= 20


# ---- CSV ----
TABLE = 'name,findings,mass\nv1,"Nodule, 4 mm",1\nv2,"both ""lungs""\nclear",0\nv3,,0.5\n'


@pytest.mark.parametrize("key", [None, "name"])
def test_damaged_tables(tmp_path, key):
    path, count = tmp_path / "table.csv", Counter()

    @MANY
    @given(DAMAGE, ENDS)
    def each(damage, end):
        path.write_bytes(damaged(TABLE, damage, end))
        table = outcome(lambda: read_csv(path, columns=["name", "mass"], key=key), path)
        count[table is not None] += 1
        if table is None:
            return
        rows = [row for row in csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")) if row]
        whole = table if key is None else table.reset_index()
        order = [rows[0].index(column) for column in whole.columns]
        assert {len(row) for row in rows} == {len(order)} and not whole.isna().to_numpy().any()
        assert whole.to_numpy().tolist() == [[row[k] for k in order] for row in rows[1:]]
        assert key is None or (table.index.is_unique and all(name.strip() for name in table.index))

    each()
    told(f"CSV, key {key}", count)


@MANY
@given(st.integers(1, 4), st.integers(0, 3), st.sampled_from(["less", "more", "end comma"]))
def test_a_row_of_another_width_is_named_with_both_counts(tmp_path_factory, rows, at, how):
    """Neither the next column's values nor a row name made of the first column."""
    path, at = tmp_path_factory.mktemp("t") / "reports.csv", min(at, rows - 1)
    lines = [["train_1_a_1.nii.gz", "Clear", "Normal"] for _ in range(rows)]
    lines[at] = {"less": lines[at][:2], "more": [*lines[at], "x"], "end comma": [*lines[at], ""]}[how]
    path.write_text("".join(",".join(line) + "\n" for line in [list(ct_rate.REPORT_COLUMNS), *lines]))
    with pytest.raises(
        DataError, match=rf"reports\.csv, line {at + 2} has {len(lines[at])} fields where the header has 3"
    ):
        ct_rate.read_reports(path)


@pytest.mark.parametrize("text", ["1_5", "１５", "", "0x10", "1,5", "true", "one"])
def test_what_python_alone_would_call_a_number_is_none(text):
    with pytest.raises(ValueError):
        to_number(text)
    assert to_number(" -1.5e3 ") == -1500


# ---- JSON and JSON lines ----
ROW = {"id": 1, "option": {"A": "Zyste ä", "B": ["x", {"y": "\u2028"}]}, "text": "a\\nb"}
LINES = "".join(json.dumps(ROW | {"id": i}, ensure_ascii=bool(i % 2)) + "\n" for i in range(3))


def pairs_of(text):
    """Every object as a list of pairs, so that no key hides another."""
    found = []

    def keep(pairs):
        found.append([key for key, _ in pairs])
        return dict(pairs)

    return json.loads(text, object_pairs_hook=keep), found


@pytest.mark.parametrize("kind", [dict, list])
def test_damaged_json(tmp_path, kind):
    path, count = tmp_path / "rows.json", Counter()
    good = json.dumps(ROW if kind is dict else [ROW, ROW])

    @MANY
    @given(DAMAGE, ENDS)
    def each(damage, end):
        path.write_bytes(damaged(good, damage, end))
        content = outcome(lambda: read_json(path, holds=kind), path)
        count[content is not None] += 1
        if content is not None:
            parsed, objects = pairs_of(path.read_bytes().decode("utf-8-sig"))
            assert repr(content) == repr(parsed) and all(len(set(keys)) == len(keys) for keys in objects)
            json.dumps(content, ensure_ascii=False).encode()

    each()
    told(f"JSON, {kind.__name__}", count)


def test_damaged_json_lines(tmp_path):
    path, count = tmp_path / "rows.jsonl", Counter()

    @MANY
    @given(DAMAGE, ENDS)
    def each(damage, end):
        path.write_bytes(damaged(LINES, damage, end))
        found = outcome(lambda: list(read_json_lines(path)), path)
        count[found is not None] += 1
        lines = path.read_bytes().decode("utf-8-sig", "replace").rstrip().split("\n")
        for number, (place, record) in enumerate(found or [], start=1):
            assert place == f"{path}, line {number}" and repr(record) == repr(pairs_of(lines[number - 1])[0])
            json.dumps(record, ensure_ascii=False).encode()

    each()
    told("JSON lines", count)


PAIR = '{"role": "user", "content": "a", "content": "b"}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PAIR, "has the key 'content' more than once"),
        (f'{{"messages": [[{PAIR}]]}}', "has the key 'content' more than once"),
        ('{"a": {"b": ["\\ud83d x"]}}', "'b' holds half of a surrogate pair"),
        ('{"a": {"\\udc00": 1}}', r"'\\udc00' holds half of a surrogate pair"),
        ('{"a": ' + "7" * 5000 + "}", "is not JSON .a number has thousands of digits"),
        ('{"a": ' * 5000, "is not JSON"),
    ],
)
def test_every_json_reader_looks_at_any_depth(tmp_path, text, message):
    path = tmp_path / "a.json"
    for content, read, place in [
        (text, read_json, ""),
        (f"[0, {text}]", lambda path: read_json(path, holds=list), ", row 2"),
        (f"0\n{text}", lambda path: list(read_json_lines(path)), ", line 2"),
    ]:
        path.write_text(content)
        place = "" if "not JSON" in message and place == ", row 2" else place
        with pytest.raises(DataError, match=rf"a\.json{place}:? {message}"):
            read(path)


def test_a_writer_says_what_no_file_can_hold_and_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.jsonl"
    write_json_lines(path, [{"a": "whole"}])
    with pytest.raises(DataError, match=r"a\.jsonl cannot hold half of a surrogate pair"):
        write_json_lines(path, [{"a": "\ud83d"}])
    assert [record for _, record in read_json_lines(path)] == [{"a": "whole"}] and len(list(tmp_path.iterdir())) == 1


# ---- volumes and their metadata ----
NAME = "valid_1_a_1.nii.gz"
GRID = {"target_spacing": (2, 2, 2), "shape": (6, 6, 6)}
KINDS = [
    np.int16,
    np.uint8,
    np.uint16,
    np.int32,
    np.float32,
    np.float64,
    np.complex64,
    [("R", "u1"), ("G", "u1"), ("B", "u1")],
]


def put(root, array, affine=None):
    import nibabel

    path = ct_rate.volume_path(root, NAME)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine).to_bytes()
    path.write_bytes(gzip.compress(content, compresslevel=1))
    return path, content


@pytest.mark.slow
def test_damaged_volumes(tmp_path):
    count, rng = Counter(), np.random.default_rng(0)
    whole = {(k, n): put(tmp_path, np.ones((5, 6, 4, 1)[:n], KINDS[k])) for k in range(8) for n in (2, 3, 4)}
    flips = st.lists(st.tuples(st.integers(0, 347), st.integers(0, 255)), max_size=3)

    @MANY
    @given(
        st.integers(0, 7),
        st.sampled_from([2, 3, 3, 3, 3, 4]),
        flips,
        st.integers(-60, 60),
        st.sampled_from([0, -1024, 3]),
    )
    def each(kind, axes, changed, length, intercept):
        path, content = whole[kind, axes]
        content = bytearray(content)
        for at, value in changed:
            content[at] = value
        content = content[:length] if length < -30 else content
        content[352:] = rng.bytes(len(content) - 352) if length > 40 else content[352:]
        path.write_bytes(gzip.compress(bytes(content), compresslevel=1))
        loaded = outcome(lambda: ct_rate.load_volume(tmp_path, NAME, Geometry((2, 2, 2), 1, intercept), **GRID), path)
        count[loaded is not None] += 1
        if loaded is not None:
            assert loaded.shape == (6, 6, 6) and loaded.dtype == np.float32 and (np.abs(loaded) <= 1000).all()

    each()
    told("NIfTI", count)


@pytest.mark.parametrize("intercept", [0, -1024])
@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 4), KINDS[-1]), "voxels of type .* are not CT numbers"),
        (np.ones((4, 4, 4), np.complex64), "voxels of type complex64"),
        (np.ones((4, 4, 4, 1), np.int16), r"shape \(4, 4, 4, 1\) is not a volume"),
        (np.ones((4, 4), np.int16), r"shape \(4, 4\) is not a volume"),
        (np.full((4, 4, 4), 3e38, np.float32), r"64 voxels are NaN or infinite, .* \(1e9 counts as such\)"),
    ],
)
def test_a_volume_is_checked_before_anything_is_computed(tmp_path, array, message, intercept):
    put(tmp_path, array)
    with pytest.raises(DataError, match=rf"valid_1_a_1\.nii\.gz: .*{message}"):
        ct_rate.load_volume(tmp_path, NAME, Geometry((2, 2, 2), 1, intercept), **GRID)


def metadata(path, **cells):
    row = {"VolumeName": NAME, "XYSpacing": "[0.7, 0.8]", "ZSpacing": "1.5", "ImagePositionPatient": "[0]"}
    row |= {"ImageOrientationPatient": str(list(AXIAL)), "RescaleIntercept": "-1024", "RescaleSlope": "1"} | cells
    with path.open("w", newline="", encoding="utf-8", errors="replace") as stream:
        writer = csv.writer(stream)
        writer.writerows([list(row), [text.replace("\0", "") for text in row.values()]])
    return path


PIECES = st.sampled_from(
    [*"0123456789", "0.7", "1e3", ".", ",", "[", "]", "(", "{", "}", "'", " ", "-", "_", "nan", "inf", "１", "\\", "()"]
)
CELLS = st.one_of(st.lists(PIECES, max_size=7).map("".join), st.sampled_from(["[0.7, 0.8]", "1.5", "1", "-1024"]))


@pytest.mark.slow
def test_odd_cells_of_the_metadata(tmp_path):
    path, count = tmp_path / "m.csv", Counter()

    @settings(MANY, max_examples=800)
    @given(st.sampled_from(["XYSpacing", "ZSpacing", "RescaleSlope", "RescaleIntercept"]), CELLS)
    def each(column, text):
        found = outcome(lambda: ct_rate.read_metadata(metadata(path, **{column: text})), f"{path}, {NAME}")
        count[found is not None] += 1
        if found is not None:
            geometry = found[NAME]
            if column == "XYSpacing":
                x, y = (float(part.strip(" '")) for part in text.strip()[1:-1].split(","))
                assert geometry.spacing == (x, y, 1.5) and min(x, y) > 0 and "{" not in text and "_" not in text
            else:
                read = {"ZSpacing": geometry.spacing[2], "RescaleSlope": geometry.slope}.get(column, geometry.intercept)
                assert read == float(text) and "_" not in text and np.isfinite(read)

    each()
    told("metadata cells", count)


@pytest.mark.parametrize(
    "cell", ["{0.7, 0.8}", "{0.7: 1, 0.8: 2}", "'12'", "[True, 1]", "[0.7 0.8]", "0.7\\0.8", "[1_0, 0.8]"]
)
def test_a_spacing_that_is_no_list_of_two_numbers_is_refused(tmp_path, cell):
    with pytest.raises(DataError, match=r"m\.csv, valid_1_a_1\.nii\.gz: XYSpacing .* are not spacings in mm"):
        ct_rate.read_metadata(metadata(tmp_path / "m.csv", XYSpacing=cell))


@pytest.mark.parametrize("cell", ["[-1.0, 0, 0, 0, 1, 0]", "[1, 0, 0, 0, 0, -1]", "", "[0]", "[nan, 0, 0, 0, 1, 0]"])
def test_volumes_that_lie_otherwise_are_named_once(tmp_path, cell):
    with pytest.warns(
        UserWarning, match=r"m\.csv: ImageOrientationPatient is not .* in 1 volumes: valid_1_a_1"
    ) as seen:
        found = ct_rate.read_metadata(metadata(tmp_path / "m.csv", ImageOrientationPatient=cell))
    assert len(seen) == 1 and found[NAME].spacing == (0.7, 0.8, 1.5) and not found[NAME].axial


def test_a_tilt_is_no_other_orientation_and_a_header_that_contradicts_is_told(tmp_path):
    path = metadata(tmp_path / "m.csv", ImageOrientationPatient="['0.99', '0.1', 0, '0', '0.98', -0.17]")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        geometry = ct_rate.read_metadata(path)[NAME]
        put(tmp_path, np.zeros((4, 4, 4), np.int16), np.diag([-2.0, -2, 2, 1]))
        first = ct_rate.load_volume(tmp_path, NAME, geometry, **GRID)
    put(tmp_path, np.zeros((4, 4, 4), np.int16), np.diag([2.0, -2, -2, 1]))
    with pytest.warns(UserWarning, match=r"valid_1_a_1\.nii\.gz: its header says axes RPI, its metadata LPS"):
        np.testing.assert_array_equal(ct_rate.load_volume(tmp_path, NAME, geometry, **GRID), first)


# ---- reports ----
def test_blank_reports_are_nobodys(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("VolumeName,Findings_EN,Impressions_EN\na,Emphysema.,\nb,,\nc,  ,\t\nd,,Normal.\n")
    with pytest.warns(UserWarning, match="neither findings nor impression, hence left out: 2 volumes: b, c"):
        assert ct_rate.images_by_report(ct_rate.read_reports(path)) == {"Emphysema.": ["a"], "Normal.": ["d"]}
    files.write_json(tmp_path / "t.json", {"train": {" ": {"images": [NAME], "processed_report": ["There is X"]}}})
    with pytest.raises(DataError, match=r"t\.json, train, report ' ' is blank"):
        ct_rate.read_training_json(tmp_path / "t.json")
