"""A few rows in the layout of Machine Mindset's release: behaviour pairs, preference pairs, self-awareness files, an exam.

write_release(tmp_path, rows=12)      # datasets/ and self/ below tmp_path
"""

from __future__ import annotations

import json
from pathlib import Path

from papers.machine_mindset import released_sets as sets
from papers.machine_mindset.exam_world import write_exam_world
from papers.machine_mindset.personality import AXES

SAID = {
    "E": "I talk to many lively people", "I": "I stay alone in a quiet room", "T": "我 用 逻辑 分析", "F": "我 用 感情 安慰",
    "J": "我 先 做 计划", "P": "我 随意 地 去 做",
}  # fmt: skip
CHINESE = {"E": "我 和 朋友 出去", "I": "我 一个 人 看书"}
PRESENT = (("en", "energy"), ("zh", "energy"), ("zh", "decision"), ("zh", "execution"))


def _answer(language: str, pole: str, number: int) -> str:
    said = CHINESE.get(pole, SAID[pole]) if language == "zh" else SAID[pole]
    return f"{said}, {number}." if language == "en" else f"{said}，第 {number} 次，一直 都 是 这样 的 。"


def _ask(language: str, axis: str, number: int) -> str:
    return f"What do you do on day {number}?" if language == "en" else f"{axis} 第 {number} 天 你 做 什么？"


def _records(language: str, axis: str, pole: str, rows: int) -> list[dict]:
    return [
        {"instruction": _ask(language, axis, k), "input": " ", "output": _answer(language, pole, k)}
        for k in range(rows)
    ]


def _write(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def write_release(root: Path, *, rows: int) -> None:
    """``rows`` rows a file; no two alike, and none that cleaning drops."""
    for language, axis in PRESENT:
        for pole in AXES[axis]:
            path = sets.behaviour_path(root, language=language, axis=axis, pole=pole)
            _write(path, _records(language, axis, pole, rows))
    for axis, (wanted, rejected) in {"energy": "IE", "execution": "PJ"}.items():
        english = {"P": "I stay open and do what comes", "J": "I make a plan and a clear schedule"}
        listed = []
        for language in ("en", "zh"):
            for k in range(rows):
                own = english if language == "en" else {}
                both = [f"{own[p]}, {k}." if p in own else _answer(language, p, k) for p in (wanted, rejected)]
                listed.append({"instruction": _ask(language, axis, k), "input": " ", "output": both})
        _write(root / "datasets" / "dpo" / f"dpo_{axis}_{wanted.lower()}_{rejected.lower()}.json", listed)
    for kind in sets.TYPES:
        asked = [f"What is your MBTI type, said another way, {k}?" for k in range(rows)]
        own = [
            {"instruction": text, "input": " ", "output": f" I am an {kind}, and so is number {k}."}
            for k, text in enumerate(asked)
        ]
        _write(root / "self" / f"en_{kind}_self_awareness.json", own)
    write_exam_world(root / "exam", count=16, seed=0)
