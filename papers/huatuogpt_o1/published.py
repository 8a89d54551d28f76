"""Arithmetic on the paper's own tables: means over columns, and what they say of its order of methods.

frame = table(run.paper, "tab2_ablation"); means = frame.mean(axis=1)
"""

from __future__ import annotations

from typing import Any

import pandas as pd

GAINS = {  # claim -> (table, better row, worse row), as the prose puts them
    "C1": ("tab1_main", "HuatuoGPT-o1-8B", "LLaMA-3.1-8B-Instruct"),
    "C2": ("tab1_main", "HuatuoGPT-o1-70B", "Llama-3.1-70B-Instruct"),
    "C3": ("tab1_main", "HuatuoGPT-o1-8B", "HuatuoGPT-o1-8B w/o RL"),
    "C5a": ("tab2_ablation", "SFT complex CoT", "SFT simple CoT"),
    "C5b": ("tab2_ablation", "SFT simple CoT", "SFT no CoT (response only)"),
    "C7a": ("tab2_ablation", "complex CoT + PPO", "complex CoT + RLOO"),
    "C7b": ("tab2_ablation", "complex CoT + RLOO", "complex CoT + DPO"),
    "C9": ("tab4_chinese", "HuatuoGPT-o1-7B-zh", "Qwen2.5-7B"),
}


def table(paper: Any, name: str) -> pd.DataFrame:
    """A printed table of ``run.paper`` as a frame: rows x columns."""
    printed = paper.published[name]
    return pd.DataFrame.from_dict(printed.rows, orient="index", columns=printed.columns)


def recomputed_means(main: pd.DataFrame, *, printed: str = "Avg") -> pd.DataFrame:
    """The printed mean of each row of Table 1 beside the plain mean of its other columns, and their difference."""
    ours = main.drop(columns=printed).mean(axis=1)
    return pd.DataFrame({"printed": main[printed], "recomputed": ours, "difference": main[printed] - ours})


def gain(paper: Any, claim: str) -> pd.Series:
    """Printed gain of a claim's better row over its worse one, in points, column by column (a printed mean left out)."""
    name, better, worse = GAINS[claim]
    frame = table(paper, name).drop(columns="Avg", errors="ignore")
    return frame.loc[better] - frame.loc[worse]
