"""Is the offline kernel of the other tests to be trusted? What goes out, or asks for an address, is told and refused."""

import subprocess
import sys

import offline
import pytest

TRIES = {
    "socket.socket().connect(('192.0.2.1', 80))": "socket.connect",
    "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'x', ('2001:db8::1', 53))": "socket.sendto",
    "socket.socket().bind(('', 0))": "socket.bind",
    "socket.create_connection(('192.0.2.1', 80))": "socket.getaddrinfo",
    "socket.gethostbyname('example.org')": "socket.gethostbyname",
    "urllib.request.urlopen('http://192.0.2.1')": "socket.getaddrinfo",
    "requests.get('http://192.0.2.1')": "socket.getaddrinfo",
}


def _run(code, tmp_path, *words):
    code = f"import socket, urllib.request, requests\ntry:\n    {code}\nexcept Exception as error:\n    print(error)"
    command = [sys.executable, "-c", code, *words]
    environment = {"NO_PROXY": "*", **offline.variables(tmp_path / "asked")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("code", TRIES)
def test_each_way_out_is_refused_and_told(code, tmp_path):
    done = _run(code, tmp_path, "no_network_canary")
    assert "offline: " in done.stdout, done.stdout + done.stderr
    assert TRIES[code] in (tmp_path / "asked").read_text()


def test_a_kernel_may_speak_to_itself_and_others_may_do_as_ever(tmp_path):
    done = _run("a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))", tmp_path, "no_network_canary")
    assert done.stdout == "b'x'\n" and not (tmp_path / "asked").exists(), done.stderr
    assert _run("socket.socket().bind(('', 0)); print('bound')", tmp_path).stdout == "bound\n"
