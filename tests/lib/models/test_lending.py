"""A base that is lent: loaded once, unchanged by the adapters that were on it, and forgotten after an error."""

import json

import pytest
import torch

from lib.data.files import write_json_lines
from lib.models import causal_lm, lending
from lib.models.lending import lend
from lib.training import sft

LORA = {"rank": 2, "targets": ["q_proj", "v_proj"]}


@pytest.fixture
def base(tmp_path):
    words = ["what is asked", "an answer"]
    causal_lm.write_checkpoint(
        tmp_path / "base", texts=words, chat_template="plain", architecture="llama", width=16, depth=1
    )
    said = [{"role": "user", "content": words[0]}, {"role": "assistant", "content": words[1]}]
    write_json_lines(tmp_path / "rows.jsonl", [{"messages": said}] * 4)
    return tmp_path / "base"


@pytest.fixture
def loads(monkeypatch):
    """What was loaded, one entry a load."""
    lending._kept.cache_clear()
    seen, load = [], causal_lm.load
    monkeypatch.setattr(causal_lm, "load", lambda source, **how: seen.append(how) or load(source, **how))
    return seen


def _tune(base, out, *, seed):
    out.mkdir()
    how = {"steps": 2, "batch": 2, "learning_rate": 1e-2, "max_length": 16, "seed": seed}
    sft.finetune(out, checkpoint=base, rows=base.parent / "rows.jsonl", lora=LORA, **how)
    return json.loads((out / "losses.json").read_text())


def test_fits_and_measurements_share_one_load_and_leave_the_base_as_it_was(base, loads, tmp_path):
    before = {name: one.clone() for name, one in causal_lm.load(base)[0].state_dict().items()}
    loads.clear()
    first = _tune(base, tmp_path / "one", seed=0)
    _tune(base, tmp_path / "two", seed=1)
    ids = torch.tensor([[5, 6, 7]])
    said = {}
    for name in ("one", None, "two", "one"):
        with lend(base, adapter=name and tmp_path / name, device="cpu", dtype="float32") as (model, _):
            said.setdefault(name, []).append(model(ids).logits)
    assert len(loads) == 1 and torch.equal(*said["one"]) and not torch.equal(said["one"][0], said["two"][0])
    with lend(base, device="cpu", dtype="float32") as (model, _):
        assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
        assert set(model.state_dict()) == set(before)
    assert _tune(base, tmp_path / "again", seed=0) == first


def test_another_precision_or_other_files_are_another_base(base, loads):
    for how in ({}, {"dtype": "bfloat16"}, {"revision": None, "dtype": "bfloat16"}):
        with lend(base, **how):
            pass
    assert len(loads) == 2
    (base / "generation_config.json").touch()
    with lend(base, dtype="bfloat16"):
        pass
    assert len(loads) == 3


def test_after_an_error_nothing_is_kept(base, loads):
    with pytest.raises(KeyboardInterrupt), lend(base):
        raise KeyboardInterrupt
    with lend(base):
        pass
    assert len(loads) == 2
