"""What the released texts hold, file by file, and what cleaning takes out of them.

count_release(run.source("texts"), run.source("self_awareness"), shortest=20).loc["en energy", "rows"]      # 2050
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from papers.machine_mindset import released_sets as sets
from papers.machine_mindset.personality import AXES


def count_release(folder: Path, self_awareness: Path, *, shortest: int) -> pd.DataFrame:
    """One row a set: its counts (:func:`released_sets.count`), the rows dropped for each reason, and those kept."""
    found = {}
    for language in sets.LANGUAGES:
        for axis, poles in AXES.items():
            if sets.behaviour_path(folder, language=language, axis=axis, pole=poles[0]).is_file():
                found[f"{language} {axis}"] = sets.read_behaviour(folder, language=language, axis=axis)
    for path in sorted((Path(folder) / "datasets" / "dpo").glob("*.json")):
        found[path.stem] = sets.read_preferences(path)
    found |= {f"self-awareness {kind}": sets.read_self_awareness(self_awareness, kind) for kind in sets.TYPES}
    table = {}
    for name, rows in found.items():
        cleaned = sets.clean(rows, shortest=shortest)
        table[name] = {**sets.count(rows), **cleaned.dropped, "kept": len(cleaned.rows)}
    return pd.DataFrame(table).T
