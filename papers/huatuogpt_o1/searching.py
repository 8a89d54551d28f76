"""Many searches at once, each with its own work record on disk: what is finished is never asked again.

One file a problem, ``items/<process_id>.json``, written whole or not at all, so a crash loses what was in flight. A record that is
damaged or belongs to another problem is put aside and searched again. Answers of an endpoint are kept besides
(:class:`papers.huatuogpt_o1.endpoint.Remembered`), so that half a search is not paid for twice.

    records = search_all(folder, rows, chat=chat, verifier=verifier, limits=Limits(), seed=0, workers=8)
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from lib.data.files import DataError, check_keys, read_json, write_json
from papers.huatuogpt_o1.endpoint import EndpointError
from papers.huatuogpt_o1.records import QUESTION, SFT, TRUTH, VERIFIABLE, Record, check_record, write_records
from papers.huatuogpt_o1.search import KEYS, Limits, Sampled, is_label_guided, rewrite, search
from papers.huatuogpt_o1.verifiers import Verifier

PATIENCE = 5  # failures in a row after which the endpoint counts as down


class SearchError(RuntimeError):
    """Some problems were not searched; what is finished is kept."""


def _place(folder: Path, number: int) -> Path:
    return folder / "items" / f"{number}.json"


def read_record(path: Path, row: Record) -> dict[str, Any]:
    """A finished work record of ``row``. Raises :class:`DataError` for a damaged one and for that of another problem."""
    record = read_json(path)
    check_keys(record, str(path), required=KEYS)
    for key in (QUESTION, TRUTH):
        if record[key] != row[key]:
            raise DataError(f"{path} is the record of another problem (its {key!r} differs); use another folder.")
    return record


def _finished(path: Path, row: Record) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        return read_record(path, row)
    except DataError:
        os.replace(path, path.with_suffix(".damaged"))
        return None


def search_all(
    folder: Path,
    rows: Sequence[Record],
    *,
    chat: Sampled,
    verifier: Verifier,
    limits: Limits,
    seed: int,
    workers: int = 1,
) -> list[dict[str, Any]]:
    """The work records of ``rows`` in order, at most ``workers`` searches at a time.

    ``told.json`` says what they were searched with; another search in the same folder is refused. Raises :class:`SearchError`
    when problems are left because the endpoint failed: run again, and only those are searched. Raises :class:`DataError` for a
    malformed row before anything is asked.
    """
    for number, row in enumerate(rows, start=1):
        check_record(row, f"problem {number}", VERIFIABLE)
    _same_search(folder, chat, verifier, limits, seed)
    found = {number: _finished(_place(folder, number), row) for number, row in enumerate(rows)}
    waiting = [number for number, record in found.items() if record is None]
    failures: dict[int, EndpointError] = {}
    in_a_row = 0

    def one(number: int) -> dict[str, Any]:
        record = search(rows[number], process_id=number, chat=chat, verifier=verifier, limits=limits, seed=seed)
        write_json(_place(folder, number), record)
        return record

    with ThreadPoolExecutor(max_workers=workers) as pool:
        running: dict[Future, int] = {}
        while (waiting and in_a_row < PATIENCE) or running:
            while waiting and len(running) < workers and in_a_row < PATIENCE:
                number = waiting.pop(0)
                running[pool.submit(one, number)] = number
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                number = running.pop(future)
                try:
                    found[number], in_a_row = future.result(), 0
                except EndpointError as error:
                    failures[number], in_a_row = error, in_a_row + 1
    left = len(failures) + len(waiting)
    if left:
        why = next(iter(failures.values()))
        raise SearchError(f"{left} of {len(rows)} problems were not searched ({why}); run again, the others are kept")
    return [record for record in found.values() if record is not None]


def write_sft(
    path: Path, records: Sequence[dict[str, Any]], *, chat: Sampled, label_guided: bool = False
) -> dict[str, int]:
    """The SFT file of finished records, with the three released keys, and what became of every record.

    ``label_guided``: also rows that were shown the truth. Raises :class:`DataError` when no row is left to write.
    """
    counts, rows = {"in": len(records), "not solved": 0, "label-guided": 0, "not rewritten": 0, "written": 0}, []
    for record in records:
        if not record["solved"]:
            counts["not solved"] += 1
        elif is_label_guided(record) and not label_guided:
            counts["label-guided"] += 1
        elif (row := rewrite(record, chat=chat)) is None:
            counts["not rewritten"] += 1
        else:
            rows.append(row)
    counts["written"] = len(rows)
    if not rows:
        raise DataError(f"no row is left for {path} ({counts}); search more problems, or deeper.")
    write_records(path, rows, SFT)
    return counts


def _same_search(folder: Path, chat: Sampled, verifier: Verifier, limits: Limits, seed: int) -> None:
    told = {
        "chat": chat.name,
        "verifier": verifier.name,
        "limits": {**vars(limits), "strategies": list(limits.strategies)},
        "seed": seed,
    }
    path = folder / "told.json"
    if path.exists():
        before = read_json(path)
        if before != json.loads(json.dumps(told)):
            other = next(key for key in told if before.get(key) != told[key])
            raise SearchError(f"{folder} holds a search with another {other}; use another folder, or delete it")
    else:
        write_json(path, told)
