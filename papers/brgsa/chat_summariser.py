"""BrgSA's semantic summarisation by a chat model: a radiology report becomes statements "There is <abnormality>".

The `full` counterpart of the rule-based summariser, called the same way. Every answer is kept as a file, so a rerun
asks nothing. Paper: GPT-4o with a prompt that is only in an unpublished supplement, output template "There is
[abnormality]" (semantic summarisation). Here: our own prompt to that template, and any chat model.

    summarise = ChatSummariser(RemoteChat("http://localhost:8000", model="qwen"), folder=folder)
    summarise("Heart size is increased. No effusion.")                    # ["There is cardiomegaly"]
    list(ThreadPoolExecutor(8).map(summarise, reports))                   # a server answers several at once
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from pathlib import Path

from lib.machine import CPU, Machine
from lib.models import ModelError
from papers.brgsa.chat import LocalChat, RemoteChat
from papers.brgsa.prepare import write_summaries

NORMAL_STATEMENT = "There is no abnormality"  # what a report that affirms nothing becomes, as with the rules

PROMPT = f"""Rewrite a chest CT report as short statements for a classifier.

Write one line for each abnormality that the report says is present, in exactly this form:
There is <abnormality>

- Name the abnormality in a few standard radiological words, with its site only if the site is part of its name.
- Include medical devices, and findings the report calls possible or suspected.
- Leave out what the report denies or calls normal, and all sizes, numbers, dates, comparisons, techniques and advice.
- Name each abnormality once.
- If the report affirms no abnormality, write only: {NORMAL_STATEMENT}
- Write nothing else.

Report:
"""

_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL | re.IGNORECASE)
# bullet, number or letter, or what opens a quoted, bold or JSON line
_LEAD = re.compile(r"^(?:[\s\-*•‣◦·–—+>#`\"'“‘\[(]+|\(?(?:\d{1,3}|[A-Za-z])[.):]\s*)+")
_STATEMENT = re.compile(r"there\s+(?:is|are)\s+(?P<what>\S.*)", re.IGNORECASE)
_TEMPLATE = re.compile(r"(?:an?\s+)?[<\[(]?(?:abnormality|finding)[>\])]?", re.IGNORECASE)  # left unfilled
_DENIAL = re.compile(
    r"there\s+(?:is|are)(?:n['’]t\b|\s+(?:no|not|nothing|none|neither|without|absence of|lack of)\b)", re.IGNORECASE
)


def parse_statements(answer: str) -> list[str]:
    """The lines of an answer that begin with "There is", in order, each once; [] when there is none.

    Bullets, numbers, quotes, bold and JSON lists are stripped, several statements of one line separated, "There are"
    set to "There is". Lines of denial are dropped; when the answer has nothing else, it is ``[NORMAL_STATEMENT]``.
    Every other line is ignored.
    """
    found: dict[str, str] = {}
    denied = False
    for line in _THOUGHT.sub("\n", answer).splitlines():
        for part in re.split(r"(?:[.;,]|\\n)[\s\"'”’*]*(?=there\s+(?:is|are))", line, flags=re.IGNORECASE):
            text = " ".join(_LEAD.sub("", part).split()).rstrip(" .;,*`\"'”’]")
            if _DENIAL.match(text):
                denied = True
            elif match := _STATEMENT.fullmatch(text):
                what = match["what"]
                if not _TEMPLATE.fullmatch(what):
                    found.setdefault(what.lower(), f"There is {what}")
    return list(found.values()) or ([NORMAL_STATEMENT] if denied else [])


class ChatSummariser:
    """Callable: report text -> statements. ``folder`` keeps the answers, one JSON file each, named by content.

    The name is the sha256 of the chat model's name, the prompt and the report, so another model or prompt asks anew. A
    file appears whole or not at all and only for an answer that could be used; one damaged since is asked for again.
    May be called from several threads.
    """

    def __init__(self, chat: LocalChat | RemoteChat, *, folder: Path):
        self.chat, self.folder = chat, Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def __call__(self, report: str) -> list[str]:
        """Raises ``ModelError`` for a blank report, an answer without a statement, and whatever ``chat.ask`` raises."""
        if not report.strip():
            raise ModelError("a report is blank, and a chat model would invent its findings; leave it out.")
        file = self.answer_file(report)
        statements = self._kept(file)
        if not statements:
            answer = self.chat.ask(PROMPT + report)
            statements = parse_statements(answer)
            if not statements:
                said = " ".join(answer.split())[:80]
                raise ModelError(
                    f"the answer to report {self._digest(report)[:12]} has no line 'There is ...' (it begins "
                    f"'{said}'); nothing was kept: run again, or use a model that follows the template."
                )
            self._keep(file, {"model": self.chat.name, "report_sha256": self._digest(report), "answer": answer})
        return statements

    def answer_file(self, report: str) -> Path:
        """Where the answer to ``report`` is kept, there or not."""
        return self.folder / f"{self._digest(json.dumps([self.chat.name, PROMPT, report]))}.json"

    @staticmethod
    def _digest(text: str) -> str:
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    @staticmethod
    def _kept(file: Path) -> list[str]:
        try:
            return parse_statements(json.loads(file.read_text(encoding="utf-8"))["answer"])
        except (OSError, ValueError, LookupError, TypeError):
            return []

    def _keep(self, file: Path, content: dict[str, str]) -> None:
        part = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            os.replace(part, file)
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            part.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> ModelError:
        return ModelError(f"{self.folder} cannot keep answers ({error.strerror or error}); give a writable folder.")


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
    machine: Machine = CPU,
) -> None:
    """``training.json`` as :func:`papers.brgsa.prepare.write_summaries` writes it; ``answers`` keeps every answer.

    Give either ``checkpoint`` (folder or hub id, with ``revision``) or ``url`` and ``model`` of an OpenAI-compatible
    server. A run that stops goes on with the reports that have no answer yet.
    """
    if (checkpoint is None) == (url is None) or (url is not None and model is None):
        raise ModelError("chat needs either 'checkpoint', or 'url' and 'model'; correct it in experiments.yml.")
    chat = RemoteChat(url, model=model) if url else LocalChat(checkpoint, revision=revision, device=machine.device)
    write_summaries(folder, tree=tree, split=split, summariser=ChatSummariser(chat, folder=Path(answers)))
