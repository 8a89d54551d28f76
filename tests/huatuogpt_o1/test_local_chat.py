"""A local checkpoint as the model that is asked: the same words for a sample, others for another, and its limits."""

import pytest

from lib.models import ModelError, causal_lm
from papers.huatuogpt_o1.local_chat import LocalChat
from papers.huatuogpt_o1.verifiers import ChatJudge

SIZES = {"architecture": "llama", "width": 16, "depth": 1, "heads": 2, "initializer_range": 0.3}


@pytest.fixture
def folder(tmp_path):
    words = "Does the response give same answer as reference ? Response : flu Reference True False cold"
    causal_lm.write_checkpoint(tmp_path, texts=[words], chat_template="chatml", max_position_embeddings=128, **SIZES)
    return tmp_path


def test_a_sample_is_its_own_and_greedy_has_one(folder):
    chat = LocalChat(folder, longest=12, temperature=1.0)
    said = [chat.ask("flu ?", sample=k) for k in (0, 0, 1, 2)]
    assert said[0] == said[1] and len(set(said)) > 1
    assert chat.ask("cold ?") != chat.ask("flu ?") and "<|im" not in "".join(said)
    greedy = LocalChat(folder, longest=12, temperature=0.0)
    assert greedy.ask("flu ?", sample=0) == greedy.ask("flu ?", sample=5)
    assert chat.name != greedy.name  # answers that are kept are not mixed up


def test_it_can_be_the_judge(folder):
    said = ChatJudge(LocalChat(folder, longest=4, temperature=0.0)).verify(["flu", "cold"], ["flu", "flu"])
    assert said.shape == (2,) and said.dtype == bool


def test_a_prompt_that_does_not_fit(folder):
    with pytest.raises(ModelError, match="exceed the 128 positions"):
        LocalChat(folder, longest=127).ask("flu ?")
    (folder / "empty").mkdir()
    with pytest.raises(ModelError, match=r"no config\.json"):
        LocalChat(folder / "empty")
