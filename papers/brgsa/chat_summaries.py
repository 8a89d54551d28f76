"""Summaries of a split's reports by a chat model: BrgSA's semantic summarisation at ``full``.

>>> summarise_by_chat(folder, tree=root, split="train", answers="runs/answers", url="http://localhost:8000", model="name")
"""

from __future__ import annotations

from pathlib import Path

from lib.models import ModelError
from lib.models.chat import LocalChat, RemoteChat
from papers.brgsa.chat_summariser import ChatSummariser
from papers.brgsa.prepare import write_summaries


def summarise_by_chat(
    folder: Path,
    *,
    tree: Path,
    split: str,
    answers: str,
    checkpoint: str | None = None,
    revision: str | None = None,
    url: str | None = None,
    model: str | None = None,
    device: str = "cpu",
) -> None:
    """``training.json`` as :func:`papers.brgsa.prepare.write_summaries` writes it; ``answers`` keeps every answer.

    Give either ``checkpoint`` (folder or hub id, with ``revision``) or ``url`` and ``model`` of an OpenAI-compatible
    server. A run that stops goes on with the reports that have no answer yet.
    """
    if (checkpoint is None) == (url is None) or (url is not None and model is None):
        raise ModelError("chat needs either 'checkpoint', or 'url' and 'model'; correct it in experiments.yml.")
    chat = RemoteChat(url, model=model) if url else LocalChat(checkpoint, revision=revision, device=device)
    write_summaries(folder, tree=tree, split=split, summariser=ChatSummariser(chat, folder=Path(answers)))
