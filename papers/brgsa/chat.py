"""A question to a chat model: a Hugging Face checkpoint on this machine, or a server that speaks OpenAI's protocol.

Both have a ``name`` (what the answer depends on; a cache key) and ``ask(prompt) -> answer``, one user message, decoded
greedily. The protocol is spoken by hand, because ``huggingface_hub.InferenceClient`` sends the user's own login where no key
is set, follows a redirect with the report in hand, and asks no local server while ``HF_HUB_OFFLINE`` is set.

    LocalChat("Qwen/Qwen2.5-7B-Instruct", revision="a09a354", device="cuda").ask("Name one lobe of the lung.")
    RemoteChat("http://localhost:8000/v1", model="qwen").ask("Name one lobe of the lung.")
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from lib.models import ModelError, causal_lm

MAX_TOKENS = 512  # of an answer; one that does not end within is an error, never a shortened answer
KEY_VARIABLE = "REPRISE_CHAT_KEY"
LONGEST_WAIT = 60.0  # seconds between two tries, whatever the server asks for
_TRY_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}
_NOT_CONTENT = {".md", ".gitattributes", ".bin", ".pt", ".pth", ".lock"}  # never read by the loader


class LocalChat:
    """A checkpoint with a chat template, given by folder or hub id; loaded at the first question.

    safetensors only and no remote code; a folder is read without any request to the hub. ``revision`` pins a hub id:
    without it the cache cannot tell a changed checkpoint. The name of a folder is the sha256 of its files, so a moved
    copy keeps its answers and another fine-tune of the same model does not inherit them.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        revision: str | None = None,
        device: str = "cpu",
        max_tokens: int = MAX_TOKENS,
    ):
        self.checkpoint, self.revision, self.device, self.max_tokens = checkpoint, revision, device, max_tokens
        self.is_folder = Path(checkpoint).is_dir()
        if self.is_folder and not (Path(checkpoint) / "config.json").is_file():
            raise ModelError(f"{checkpoint} has no config.json; give the folder of a Hugging Face checkpoint.")
        if not self.is_folder and (isinstance(checkpoint, Path) or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", checkpoint)):
            raise ModelError(f"{checkpoint} is no folder; give the folder of a Hugging Face checkpoint or a hub id.")
        self._lock = threading.Lock()

    @cached_property
    def name(self) -> str:
        if not self.is_folder:
            return f"{self.checkpoint}@{self.revision or 'main'}"
        folder, digest = Path(self.checkpoint), hashlib.sha256()
        for file in sorted(p for p in folder.iterdir() if p.is_file() and p.suffix not in _NOT_CONTENT):
            with file.open("rb") as stream:
                digest.update(f"{file.name}:{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
        return f"sha256:{digest.hexdigest()}"

    @cached_property
    def _loaded(self):
        from transformers import GenerationConfig

        model, tokenizer = causal_lm.load(self.checkpoint, revision=self.revision, device=self.device, dtype="auto")
        if not tokenizer.chat_template:
            raise ModelError(f"{self.checkpoint} has no chat template; give an instruction-tuned (chat) checkpoint.")
        ends = model.generation_config.eos_token_id
        ends = [ends] if isinstance(ends, int) else list(ends or [])
        if tokenizer.eos_token_id not in ends:
            ends.append(tokenizer.eos_token_id)
        # Greedy, and nothing of the checkpoint's own sampling settings (temperature, penalties) left.
        model.generation_config = GenerationConfig(
            do_sample=False, num_beams=1, max_new_tokens=self.max_tokens, eos_token_id=ends, pad_token_id=ends[0]
        )
        return model, tokenizer

    def prompt_text(self, prompt: str) -> str:
        """What the model reads: the prompt as one user message in the checkpoint's own chat template."""
        from jinja2 import TemplateError

        _, tokenizer = self._loaded
        try:
            # enable_thinking is Qwen3's switch; a template that does not know it ignores it
            return tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        except TemplateError as error:
            raise ModelError(
                f"the chat template of {self.checkpoint} refuses one user message ({_short(str(error))}); "
                f"correct its chat_template."
            ) from error

    def ask(self, prompt: str) -> str:
        """The answer, without special tokens. Raises ``ModelError`` when prompt or answer is longer than fits."""
        import torch

        with self._lock:
            model, tokenizer = self._loaded
            # the template has already written the beginning-of-text token
            inputs = tokenizer(
                self.prompt_text(prompt), add_special_tokens=False, return_tensors="pt", return_token_type_ids=False
            ).to(self.device)
            length = inputs["input_ids"].shape[1]
            room = getattr(model.config.get_text_config(), "max_position_embeddings", None)
            if room and length + self.max_tokens > room:
                raise ModelError(
                    f"a prompt of {length} tokens and {self.max_tokens} for the answer exceed the {room} positions of "
                    f"{self.checkpoint}; lower max_tokens or use a model with a longer context."
                )
            with torch.inference_mode():
                answer = model.generate(**inputs)[0, length:]
        if len(answer) >= self.max_tokens and int(answer[-1]) not in model.generation_config.eos_token_id:
            raise ModelError(f"the answer of {self.checkpoint} was cut at {self.max_tokens} tokens; raise max_tokens.")
        return tokenizer.decode(answer, skip_special_tokens=True)


class RemoteChat:
    """An OpenAI-compatible server: ``url`` is its address, with or without ``/v1`` or ``/v1/chat/completions``.

    What is asked leaves this machine: reports must be free of patient identifiers and their licence must allow it. The
    API key is read from the environment variable :data:`KEY_VARIABLE` at each question (none set: no key is sent). A busy
    or failing server (408, 409, 425, 429, 5xx, no connection, ``timeout`` seconds of silence) is asked ``attempts``
    times, after ``backoff``, 2 ``backoff``, 4 ``backoff`` ... seconds or what its Retry-After says, at most 60 s.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        timeout: float = 120.0,
        attempts: int = 6,
        backoff: float = 1.0,
        max_tokens: int = MAX_TOKENS,
    ):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ModelError(f"'{url}' is no server address; give one like http://localhost:8000/v1.")
        if "@" in parts.netloc:  # would otherwise be printed in every error
            raise ModelError(
                f"the address of {parts.hostname} holds a password; put the key in {KEY_VARIABLE} instead."
            )
        if attempts < 1 or timeout <= 0 or backoff < 0:
            raise ModelError(f"attempts {attempts}, timeout {timeout}, backoff {backoff}: give >= 1, > 0 s and >= 0 s.")
        path = re.sub(r"(/v1)?(/chat/completions)?/*$", "", parts.path)
        self.url = urlunsplit((parts.scheme, parts.netloc, f"{path}/v1/chat/completions", "", ""))
        self.model, self.timeout = model, timeout
        self.attempts, self.backoff, self.max_tokens = attempts, backoff, max_tokens

    @property
    def name(self) -> str:
        """The model's id: a server that moves keeps its answers."""
        return self.model

    def ask(self, prompt: str) -> str:
        """The content of the first choice. Raises ``ModelError`` naming the URL, what happened and what to do."""
        for attempt in range(self.attempts):
            response, problem = self._post(prompt)
            if response is not None and response.status_code not in _TRY_AGAIN:
                return self._answer(response)
            if attempt + 1 < self.attempts:
                time.sleep(self._pause(response, attempt))
        raise ModelError(
            f"{self.url} gave no answer in {self.attempts} tries ({problem}); check that the server runs, then run "
            f"again: answers so far are kept."
        )

    def _post(self, prompt: str):
        """(response or None, what went wrong in a few words)."""
        import requests

        key = os.environ.get(KEY_VARIABLE, "").strip()

        def authorise(request):  # as `auth`, because requests lets ~/.netrc override a plain header
            if key:
                request.headers["Authorization"] = f"Bearer {key}"
            return request

        message = {"role": "user", "content": prompt}
        body = {"model": self.model, "messages": [message], "temperature": 0, "max_tokens": self.max_tokens}
        try:
            response = requests.post(self.url, json=body, auth=authorise, timeout=self.timeout, allow_redirects=False)
            return response, f"HTTP {response.status_code}"
        except requests.Timeout:
            return None, f"silent for {self.timeout:g} s"
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return None, "no connection"
        except (requests.RequestException, ValueError) as error:  # a key or name that no header or URL can hold
            raise ModelError(
                f"{self.url} cannot be asked ({type(error).__name__}); correct the address or {KEY_VARIABLE}."
            ) from None

    def _pause(self, response, attempt: int) -> float:
        asked = "" if response is None else response.headers.get("Retry-After", "").strip()
        wait = float(asked) if re.fullmatch(r"\d+(\.\d+)?", asked) else self.backoff * 2**attempt
        return min(wait, LONGEST_WAIT)

    def _answer(self, response) -> str:
        status = response.status_code
        if status != 200:
            remedy = {
                401: f"set {KEY_VARIABLE} to a valid key",
                403: f"set {KEY_VARIABLE} to a key that may use '{self.model}'",
                404: f"check the address and that the server has the model '{self.model}'",
            }.get(status, f"check the address and the model '{self.model}'")
            raise ModelError(f"{self.url} refused with HTTP {status} ({self._said(response)}); {remedy}.")
        try:
            choice = response.json()["choices"][0]
            content, cut = choice["message"]["content"], choice.get("finish_reason") == "length"
        except (ValueError, LookupError, TypeError, AttributeError):
            content, cut = None, False
        if not isinstance(content, str):
            raise ModelError(
                f"{self.url} answered something that is no chat completion; give the address of a server that speaks "
                f"OpenAI's protocol (POST /v1/chat/completions)."
            )
        if cut:
            raise ModelError(f"the answer of {self.url} was cut at {self.max_tokens} tokens; raise max_tokens.")
        return content

    def _said(self, response) -> str:
        """The server's own words on a refusal, shortened, with the key blanked should it be repeated there."""
        try:
            said = response.json()["error"]
            said = said["message"] if isinstance(said, dict) else said
        except (ValueError, LookupError, TypeError):
            said = response.reason
        key = os.environ.get(KEY_VARIABLE, "").strip()
        said = str(said)
        return _short(said.replace(key, "***") if key else said)


def _short(text: str) -> str:
    words = " ".join(text.split()).rstrip(".")
    return words if len(words) <= 160 else f"{words[:157]}..."
