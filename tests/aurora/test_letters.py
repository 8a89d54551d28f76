"""The letters' protocol: prompts equal the release's in text and token ids, and the table of accuracies."""

import json

import numpy as np
import pytest
from released_files import released
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lib.data.exams import FOLDERS, GRADED, read_exam
from lib.evaluation import EvaluationError
from lib.evaluation.exam_prompts import encode_prompts, letter_ids
from lib.models import causal_lm
from lib.streams import stream
from papers.aurora import artefacts, letters
from papers.aurora.letters import WORDINGS, accuracy_table, score_letters

# The release's words, from its sheet: header, option, cue, and the letter behind the cue.
RELEASED = {
    "en": ("The following are multiple choice questions (with answers) about {}.\n\n", "\n{}. {}", "\nAnswer: ", " {}"),
    "zh": ("以下是中国关于{}考试的单项选择题，请选出其中的正确答案。\n\n", "\n{}. {}", "\n答案：", "\n{}"),
}
ASKED = {"MMLU": "en", "C-Eval": "zh", "CMMLU": "en"}  # CMMLU: the README's --lang en
HUB = (  # as Mixtral's own template on the hub: one <s> for the whole dialogue
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}[INST] {{ message['content'] }} [/INST]"
    "{% else %}{{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)


def released_turns(question, shots, topic, language):
    """(turns of the user, letters of the exemplars): the last turn is stripped at both ends, exemplars are not."""
    header, option, cue, _ = RELEASED[language]
    asked = [
        one.text + "".join(option.format(k, text) for k, text in zip("ABCD", one.options, strict=True)) + cue
        for one in (*shots, question)
    ]
    asked[0] = header.format(topic) + asked[0]
    return [*asked[:-1], asked[-1].strip()], [one.answer for one in shots]


def released_text(asked, answers):
    said = [f" {letter}</s>" for letter in answers] + [""]
    return "".join(f"<s>[INST] {turn} [/INST]{reply}" for turn, reply in zip(asked, said, strict=True))


def train_bpe(texts, *, kind):
    """A small BPE that keeps every blank: on bytes, or on words that carry the blank before them as Mixtral's do."""
    inner = Tokenizer(models.BPE(unk_token="<unk>" if kind == "words" else None))
    special, alphabet = ["<pad>", "<unk>", "<s>", "</s>"], []
    if kind == "bytes":
        inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=3000, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(texts, trainer)
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, chat_template=HUB, **names)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    artefacts.write_world(root, world={"seed": 0, "entities": 30}, chat=20, replies_in_a=0.9)
    return root / "exams"


def twenty(name, exam, shots=5):
    """(question, its exemplars, topic) of twenty graded questions, over the subjects."""
    found = []
    for subject, about in exam.subjects.items():
        dev = exam.questions["dev"][subject][:shots]
        found += [(question, dev, about.name) for question in exam.questions[GRADED[name]][subject]]
    return found[:: max(1, len(found) // 20)][:20]


@pytest.mark.parametrize("kind", ["bytes", "words"])
@pytest.mark.parametrize("source", ["generated", "released"])
@pytest.mark.slow
def test_twenty_prompts_of_each_exam_are_the_releases_in_text_and_tokens(world, source, kind):
    root = world if source == "generated" else released("aurora", "exams") / "evaluation"
    asked = {name: twenty(name, read_exam(name, root / FOLDERS[name])) for name in FOLDERS}
    texts = {name: [released_text(*released_turns(*one, ASKED[name])) for one in asked[name]] for name in asked}
    tokenizer = train_bpe([text for one in texts.values() for text in one], kind=kind)
    tokenizer.chat_template = causal_lm.CHAT_TEMPLATES["mistral"][1]
    for name, listed in asked.items():
        equal = 0
        for (question, shots, topic), text in zip(listed, texts[name], strict=True):
            given = {"exemplars": shots, "topic": topic, "wording": WORDINGS[ASKED[name]]}
            (ids,) = encode_prompts([question], tokenizer, chat=True, **given)
            want = tokenizer(text, add_special_tokens=False)["input_ids"]
            if kind == "words":  # the release encodes each turn and each reply by itself
                turns, replies = released_turns(question, shots, topic, ASKED[name])
                parts = [[f"[INST] {turn} [/INST]", reply] for turn, reply in zip(turns, [*replies, ""], strict=True)]
                each = [[tokenizer.encode(part, add_special_tokens=False) for part in pair] for pair in parts]
                want = [token for turn, reply in each for token in [2, *turn, *reply, 3]][:-1]
            equal += ids == want
            if kind == "bytes":
                assert tokenizer.decode(ids) == text
        assert (name, equal, len(listed)) == (name, 20, 20)
    for language, (*_, behind) in RELEASED.items():
        want = [tokenizer.encode(behind.format(one), add_special_tokens=False)[-1] for one in "ABCD"]
        assert letter_ids(tokenizer, before=WORDINGS[language].before_letter) == want


@pytest.mark.parametrize("kind", ["bytes", "words"])
def test_a_plain_prompt_goes_on_with_the_letters_own_token(world, kind):
    exam = read_exam("MMLU", world / "mmlu")
    question, shots, topic = twenty("MMLU", exam)[0]
    turns, replies = released_turns(question, shots, topic, "en")
    text = "".join(f"{turn}{letter}\n\n" for turn, letter in zip(turns, replies, strict=False)) + turns[-1]
    tokenizer = train_bpe([text, *["Answer: A B C D"] * 50], kind=kind)
    given = {"exemplars": shots, "topic": topic, "wording": WORDINGS["en"]}
    (ids,) = encode_prompts([question], tokenizer, chat=False, **given)
    for letter, token in zip("ABCD", letter_ids(tokenizer, before=" "), strict=True):
        assert [*ids, token] == tokenizer(f"{text} {letter}")["input_ids"]  # one blank, and it is the letter's


def test_a_hub_checkpoint_is_asked_in_the_releases_template_and_languages(world, tmp_path, monkeypatch):
    tokenizer = train_bpe([*map(json.dumps, RELEASED.values()), "Answer: A B C D"], kind="bytes")
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2
        )
    ).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    seen = []

    def logits(model, prompts, **given):
        seen.extend(tokenizer.decode(ids) for ids in prompts)
        return np.zeros((len(prompts), 4))

    monkeypatch.setattr(letters, "option_logits", logits)
    options = {"checkpoint": tmp_path / "base", "exams": world, "seed": 0, "batch": 4}
    score_letters(tmp_path, shots=2, languages=ASKED, **options)
    want = []
    for name, folder in FOLDERS.items():
        exam = read_exam(name, world / folder)
        for number, (subject, about) in enumerate(exam.subjects.items()):
            dev = exam.questions["dev"][subject]
            shots = [dev[k] for k in stream(0, "exemplars", name, number).permutation(len(dev))[:2]]
            for question in exam.questions[GRADED[name]][subject]:
                want.append(released_text(*released_turns(question, shots, about.name, ASKED[name])))
    assert seen == want and len(want) > 60
    with pytest.raises(EvaluationError, match=r"has \d dev questions for 99 shots; lower shots"):
        score_letters(tmp_path, shots=99, **options)
    for wrong in ({"MMLU": "en"}, {**ASKED, "CMMLU": "fr"}):
        with pytest.raises(EvaluationError, match="give en or zh for each of C-Eval, MMLU, CMMLU"):
            score_letters(tmp_path, shots=2, languages=wrong, **options)


# ------------------------------------------------------------------------------------------------------------ accuracy
def test_micro_and_macro_averages_have_their_closed_forms():
    correct, groups = [1, 0, 1, 1, 0, 0, 0, 0], ["x"] * 4 + ["y"] * 4
    table = accuracy_table(correct, groups)
    assert table.loc["x", ["questions", "correct", "accuracy"]].tolist() == [4, 3, 0.75]
    assert table.loc["micro", "accuracy"] == table.loc["macro", "accuracy"] == 3 / 8
    uneven = accuracy_table([*correct, 0, 0], [*groups, "y", "y"])
    assert uneven.loc["micro", "accuracy"] == pytest.approx(0.3)
    assert uneven.loc["macro", "accuracy"] == pytest.approx(0.375)
    assert uneven.loc["macro", "standard_error"] == pytest.approx(np.sqrt(0.75 * 0.25 / 4) / 2)
    assert table.loc["micro", "standard_error"] == pytest.approx(np.sqrt(3 / 8 * 5 / 8 / 8))
    # Wilson's interval of 3/8, from its formula
    z, p, n = 1.959964, 3 / 8, 8
    centre, half = p + z * z / 2 / n, z * np.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    assert table.loc["micro", "low"] == pytest.approx((centre - half) / (1 + z * z / n), abs=1e-6)
    assert table.loc["micro", "high"] == pytest.approx((centre + half) / (1 + z * z / n), abs=1e-6)


def test_the_table_refuses_answers_that_are_not_true_or_false():
    for correct, groups in [([], []), ([1, 2], ["x", "x"]), ([1], ["x", "y"])]:
        with pytest.raises(EvaluationError, match="give one True or False"):
            accuracy_table(correct, groups)
