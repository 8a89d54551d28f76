"""A kernel whose PYTHONPATH begins with this folder connects to no internet address and asks for none: each try raises an error and
is written to the file ``NO_NETWORK_LOG``, so that no library can swallow it. Python loads a module of this name as it starts.
(A socket alone is no try: urllib3 makes one, as it is imported, to see whether the machine has IPv6.)"""

import os
import sys
import traceback

NAMES = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
TALK = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind")


def _forbid(event, arguments):
    if event not in NAMES and event not in TALK:
        return
    address = arguments[0] if event in NAMES else arguments[-1]
    if event in TALK and not isinstance(address, tuple):
        return  # AF_UNIX, or a socket that is connected already
    if event == "socket.bind" and address[0] in ("::1", "127.0.0.1"):
        return
    way = [f"{os.sep.join(f.filename.split(os.sep)[-3:])}:{f.lineno}" for f in traceback.extract_stack()[-30:-1]]
    told = f"{event} {address}, from {' '.join(one for one in way if '/http' not in one)}"
    with open(os.environ["NO_NETWORK_LOG"], "a") as log:
        log.write(f"{told}\n")
    raise PermissionError(f"offline: {told}")


if any(word.endswith(("ipykernel_launcher", "warm_kernels.py", "no_network_canary")) for word in sys.orig_argv):
    sys.addaudithook(_forbid)
