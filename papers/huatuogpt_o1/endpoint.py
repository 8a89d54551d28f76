"""A chat model behind an address that speaks OpenAI's protocol, and answers that are kept.

What is asked leaves this machine. The key is read from ``REPRISE_CHAT_KEY`` at each question. No redirect is followed, and no login
of another service is sent.

    chat = Remembered(Endpoint("http://localhost:8000/v1", model="qwen"), folder / "answers"); chat.ask("Why?", sample=1)
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

from lib.data.files import DataError, read_json, write_json

KEY_VARIABLE = "REPRISE_CHAT_KEY"
LONGEST_WAIT = 60.0  # seconds between two tries, whatever the server asks for
_TRY_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}


class EndpointError(RuntimeError):
    """The endpoint gave no answer that can be used; one sentence with the address and what to do."""


class Endpoint:
    """``url``: of the API, with or without ``/v1``. A busy, failing or silent server is asked ``attempts`` times, after
    ``backoff``, 2 ``backoff`` ... seconds or what its Retry-After says; a body that is no completion, too.

    Raises ``ValueError`` for an address or numbers that cannot be used.
    """

    def __init__(
        self, url: str, *, model: str, temperature: float = 0.7, max_tokens: int = 2048, timeout: float = 120.0,
        attempts: int = 5, backoff: float = 1.0,
    ):  # fmt: skip
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise ValueError(f"'{parts.hostname or url}' is no server address; give one like http://localhost:8000/v1")
        if attempts < 1 or timeout <= 0 or backoff < 0:
            raise ValueError(f"attempts {attempts}, timeout {timeout}, backoff {backoff}: give >= 1, > 0 s and >= 0 s")
        path = re.sub(r"(/v1)?(/chat/completions)?/*$", "", parts.path)
        self.url = f"{parts.scheme}://{parts.netloc}{path}/v1/chat/completions"
        self.model, self.temperature, self.max_tokens = model, temperature, max_tokens
        self.timeout, self.attempts, self.backoff = timeout, attempts, backoff
        self.name = f"{model}, temperature {temperature}, {max_tokens} tokens"

    def ask(self, prompt: str, *, sample: int = 0) -> str:
        """The reply; ``sample`` is sent as the seed. Raises :class:`EndpointError` when no try gives one."""
        problem = ""
        for attempt in range(self.attempts):
            response, problem = self._post(prompt, sample)
            if response is not None and response.status_code not in _TRY_AGAIN:
                if response.status_code != 200:
                    raise EndpointError(f"{self.url} refused with HTTP {response.status_code}; check the address, the model "
                                        f"'{self.model}' and {KEY_VARIABLE}")  # fmt: skip
                content = _content(response)
                if content is not None:
                    return content
                problem = "a body that is no chat completion"
            if attempt + 1 < self.attempts:
                time.sleep(self._pause(response, attempt))
        raise EndpointError(
            f"{self.url} gave no answer in {self.attempts} tries ({problem}); check that the server runs"
        )

    def _post(self, prompt: str, sample: int):
        import requests

        def authorise(request):  # as `auth`, or a login from ~/.netrc would be sent
            if key := os.environ.get(KEY_VARIABLE, "").strip():
                request.headers["Authorization"] = f"Bearer {key}"
            return request

        body = {"model": self.model, "messages": [{"role": "user", "content": prompt}], "temperature": self.temperature,
                "max_tokens": self.max_tokens, "seed": sample}  # fmt: skip
        try:
            found = requests.post(self.url, json=body, auth=authorise, timeout=self.timeout, allow_redirects=False)
            return found, f"HTTP {found.status_code}"
        except requests.Timeout:
            return None, f"silent for {self.timeout:g} s"
        except requests.RequestException as error:
            return None, f"no connection, {type(error).__name__}"

    def _pause(self, response, attempt: int) -> float:
        asked = "" if response is None else response.headers.get("Retry-After", "").strip()
        wait = float(asked) if re.fullmatch(r"\d+(\.\d+)?", asked) else self.backoff * 2**attempt
        return min(wait, LONGEST_WAIT)


def _content(response) -> str | None:
    try:
        content = response.json()["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return None
    return content if isinstance(content, str) else None


class Remembered:
    """A chat model whose answers are kept in ``folder``, one file each: asked again, an answer costs nothing.

    A file that is damaged or holds another prompt is asked for again.
    """

    def __init__(self, chat, folder: Path):
        self.chat, self.folder, self.name = chat, Path(folder), chat.name

    def ask(self, prompt: str, *, sample: int = 0) -> str:
        key = hashlib.sha256(json.dumps([self.name, prompt, sample]).encode()).hexdigest()
        path = self.folder / key[:2] / f"{key}.json"
        if path.exists():
            try:
                kept = read_json(path)
                if kept.get("prompt") == prompt and isinstance(kept.get("answer"), str):
                    return kept["answer"]
            except DataError:
                pass  # cut off by a crash: asked again
        answer = self.chat.ask(prompt, sample=sample)
        write_json(path, {"prompt": prompt, "sample": sample, "answer": answer})
        return answer
