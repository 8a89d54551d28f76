"""Released files: found and checked, downloaded when absent, nothing kept of a bad download (loopback server)."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from lib.workflow import download, paths
from lib.workflow.download import DownloadError, FileUnavailable, fetch, fetch_folder, registry

GOOD = b"dataset,score\n" + b"math,0.20\n" * 5000
OTHER = b"0,1\n0.5,0.25\n"


class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/missing.csv":
            self.send_error(404)
            return
        bodies = {"/good.csv": GOOD, "/other.csv": OTHER, "/cut.csv": GOOD, "/short.csv": GOOD[:-7]}
        bodies["/wrong.csv"] = GOOD.replace(b"0.20", b"0.21", 1)
        body = bodies[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/cut.csv" else body)  # then the connection closes

    def log_message(self, *args):
        pass


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A server on loopback and a project whose paper 'toy' lists its files; yields (server, data root, list_files)."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.asked = []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(paths, "PAPERS", tmp_path / "papers")
    monkeypatch.setattr(paths, "DATA_ROOT", tmp_path / "data")
    monkeypatch.setattr(download, "TIMEOUT", 5)

    def list_files(**files):
        entries = [
            {
                "path": f"results/{name}.csv",
                "url": f"http://127.0.0.1:{server.server_port}/{file}.csv",
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            for name, (file, content) in files.items()
        ]
        folder = paths.paper("toy")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "files.yml").write_text(yaml.safe_dump({"files": entries}))

    yield server, tmp_path / "data", list_files
    server.shutdown()
    server.server_close()


def everything_under(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) if folder.exists() else []


def folders_under(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_dir())


def test_an_absent_file_is_downloaded_once_and_then_found(site, capfd):
    server, root, list_files = site
    list_files(a=("good", GOOD))
    found = fetch("toy/results/a.csv")
    assert found == root / "toy" / "results" / "a.csv" and found.read_bytes() == GOOD
    assert fetch("toy/results/a.csv") == found and server.asked == ["/good.csv"]
    assert everything_under(root) == ["toy/results/a.csv"] and folders_under(root) == ["results", "toy"]
    assert capfd.readouterr() == ("", "")


def test_a_file_already_there_needs_no_network_and_is_hashed_once(site, monkeypatch):
    server, root, list_files = site
    list_files(a=("missing", GOOD))
    target = root / "toy" / "results" / "a.csv"
    target.parent.mkdir(parents=True)
    target.write_bytes(GOOD)
    calls = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *args: calls.append(args) or digest(*args))
    assert fetch("toy/results/a.csv") == fetch("toy/results/a.csv") == target
    assert server.asked == [] and len(calls) == 1


def test_a_file_that_changes_after_it_was_checked_is_checked_again(site):
    _, _, list_files = site
    list_files(a=("good", GOOD))
    path = fetch("toy/results/a.csv")
    path.write_bytes(GOOD[:-3])
    with pytest.raises(
        DownloadError, match=r"a.csv has sha256 \w{12} instead of the pinned .*delete it and run again"
    ) as caught:
        fetch("toy/results/a.csv")
    assert not isinstance(caught.value, FileUnavailable) and "\n" not in str(caught.value)
    assert path.read_bytes() == GOOD[:-3]  # a file somebody put there is not deleted for them
    path.unlink()
    assert fetch("toy/results/a.csv").read_bytes() == GOOD


@pytest.mark.parametrize(
    ("served", "message", "kind"),
    [
        ("wrong", r"gave 50014 bytes with sha256 \w{12} instead of .*run again", DownloadError),
        ("short", r"gave 50007 bytes with sha256", DownloadError),
        ("cut", r"cut off.*run again|no connection.*run again", FileUnavailable),
        ("missing", r"HTTP 404.*copy the file to", FileUnavailable),
    ],
)
def test_a_download_that_goes_wrong_leaves_nothing(site, served, message, kind):
    _, root, list_files = site
    list_files(a=(served, GOOD))
    with pytest.raises(DownloadError, match=message) as caught:
        fetch("toy/results/a.csv")
    assert type(caught.value) is kind and "\n" not in str(caught.value)
    assert everything_under(root) == [] and folders_under(root) == ["results", "toy"]


def test_a_server_that_is_gone_says_so(site):
    server, root, list_files = site
    list_files(a=("good", GOOD))
    server.shutdown()
    server.server_close()
    with pytest.raises(FileUnavailable, match=r"no connection.*check the network"):
        fetch("toy/results/a.csv")
    assert everything_under(root) == []


def test_fetch_folder_needs_every_file(site):
    server, root, list_files = site
    list_files(a=("good", GOOD), b=("other", OTHER))
    assert fetch_folder("toy") == root / "toy"
    assert everything_under(root) == ["toy/results/a.csv", "toy/results/b.csv"] and len(server.asked) == 2
    list_files(a=("good", GOOD), b=("other", OTHER), c=("missing", GOOD))
    with pytest.raises(FileUnavailable, match="HTTP 404"):
        fetch_folder("toy")
    assert everything_under(root) == ["toy/results/a.csv", "toy/results/b.csv"]


def test_a_folder_that_cannot_be_written_names_the_remedy(site):
    _, root, list_files = site
    list_files(a=("good", GOOD))
    root.write_text("a file where the folder should be")
    with pytest.raises(FileUnavailable, match=r"cannot be written.*REPRISE_DATA"):
        fetch("toy/results/a.csv")


def test_a_name_outside_the_registry_is_refused(site):
    server, _, list_files = site
    list_files(a=("good", GOOD))
    for name in ("toy/results/b.csv", "toy/../toy/results/a.csv", "toy", "toy/"):
        with pytest.raises(DownloadError, match=r"does not list"):
            fetch(name)
    with pytest.raises(DownloadError, match=r"files.yml does not exist"):
        fetch("nobody/results/a.csv")
    assert server.asked == []


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"path": "../a.csv"}, r"relative path"),
        ({"path": "/etc/a.csv"}, r"relative path"),
        ({"sha256": "abc"}, r"files\.0\.sha256"),
        ({"url": "ftp://127.0.0.1/a.csv"}, r"files\.0\.url"),
        ({"md5": "x"}, r"files\.0\.md5"),
    ],
)
def test_registry_faults_name_file_and_key(site, entry, message):
    _, _, list_files = site
    list_files(a=("good", GOOD))
    path = paths.paper("toy") / "files.yml"
    content = yaml.safe_load(path.read_text())
    content["files"][0].update(entry)
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(DownloadError, match=message) as caught:
        registry("toy")
    assert "files.yml" in str(caught.value)


def test_a_path_listed_twice_is_refused(site):
    _, _, list_files = site
    list_files(a=("good", GOOD))
    path = paths.paper("toy") / "files.yml"
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({"files": content["files"] * 2}))
    with pytest.raises(DownloadError, match="listed twice"):
        registry("toy")


@pytest.mark.parametrize(("slug", "count"), [("carzero", 4), ("machine_mindset", 16)])
def test_committed_registries_pin_a_commit(slug, count):
    files = registry(slug)
    assert len(files) == count
    for file in files:
        host, owner, repo, commit, *rest = file.url.removeprefix("https://").split("/")
        assert host == "raw.githubusercontent.com" and owner and repo and "/".join(rest) == file.path
        assert len(commit) == 40 and set(commit) <= set("0123456789abcdef")
