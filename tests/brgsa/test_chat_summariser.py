"""The chat summariser against a server stub on the loopback and a tiny checkpoint that was taught one answer."""

import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from chat_server import completion, server
from hypothesis import given
from hypothesis import strategies as st

from lib.models import ModelError
from papers.brgsa import chat_summariser, summaries
from papers.brgsa.chat import LocalChat, RemoteChat
from papers.brgsa.chat_summariser import NORMAL_STATEMENT, PROMPT, ChatSummariser, parse_statements

REPORT = "Heart size is increased. Bilateral pleural effusion. No nodule."
ANSWER = "1. There is cardiomegaly.\n2. There is pleural effusion.\n3. There is no lung nodule."
STATEMENTS = ["There is cardiomegaly", "There is pleural effusion"]


def remote(address, **settings):
    return RemoteChat(address, model="stub", **{"timeout": 5.0, "attempts": 3, "backoff": 0.01, **settings})


def files(folder):
    return sorted(p.name for p in folder.iterdir())


# ---------------------------------------------------------------------- answers
@pytest.mark.parametrize(
    "answer",
    [
        "There is cardiomegaly\nThere is pleural effusion",
        "- There is cardiomegaly.\n* There is pleural effusion.\n• There is no lung nodule.",
        "(1) **There is cardiomegaly**\n(2) **there are pleural  effusion**\n3) There isn't a nodule",
        "Sure! Here are the statements:\n\n1. There is cardiomegaly.\n\na) There is pleural effusion;\nLet me know.",
        '["There is cardiomegaly", "There is pleural effusion", "There is no lung nodule"]',
        '```json\n[\n  "There is cardiomegaly",\n  "There is pleural effusion"\n]\n```',
        "There is cardiomegaly. There is pleural effusion. There is no lung nodule.",
        "> There is cardiomegaly\n> There is pleural effusion\n> There is Cardiomegaly",
        "<think>\nThere is a hernia?\nThere is no hernia.\n</think>\nThere is cardiomegaly\nThere is pleural effusion",
        "There is <abnormality>\nThere is [abnormality]\nThere is cardiomegaly\nThere is pleural effusion",
    ],
)
def test_any_dressing_gives_the_same_statements(answer):
    assert parse_statements(answer) == STATEMENTS


def test_denials_alone_mean_a_normal_report_and_prose_means_nothing():
    assert parse_statements("There is no effusion.\nThere are no nodules.") == [NORMAL_STATEMENT]
    assert parse_statements(NORMAL_STATEMENT) == [NORMAL_STATEMENT]
    assert parse_statements("There is no effusion.\nThere is a nodule") == ["There is a nodule"]
    for nothing in (
        "",
        "  \n",
        "The heart is large.",
        "I think there is a nodule",
        "There is",
        "There is [abnormality]",
    ):
        assert parse_statements(nothing) == []


def test_words_that_only_begin_like_a_denial_stay():
    assert parse_statements("There is nodular opacity\nThere is nonspecific thickening") == [
        "There is nodular opacity",
        "There is nonspecific thickening",
    ]


@given(st.lists(st.from_regex(r"[a-z]{2,9}( [a-z]{2,9}){0,2}", fullmatch=True), min_size=1, unique=True))
def test_a_plain_answer_is_its_own_parse(names):
    special = {"no", "not", "nothing", "none", "neither", "without", "of", "an", "abnormality", "finding"}
    names = [name for name in names if not special & set(name.split())]
    lines = [f"There is {name}" for name in names]
    assert parse_statements("\n".join(lines)) == lines


def test_the_two_summarisers_agree_on_a_normal_report():
    rules = summaries.RuleSummariser({"Lung mass": ("lung mass",)})
    assert [NORMAL_STATEMENT] == rules("The lungs are clear.") == [summaries.NORMAL_STATEMENT]


# ---------------------------------------------------------------------- server
def test_a_server_is_asked_once_for_each_report(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRISE_CHAT_KEY", "secret\n")
    with server(completion(ANSWER)) as (address, received):
        summarise = ChatSummariser(remote(address), folder=tmp_path / "kept")
        assert summarise(REPORT) == STATEMENTS
        assert summarise(REPORT) == STATEMENTS
        again = ChatSummariser(remote(address + "/v1/"), folder=tmp_path / "kept")
        assert again(REPORT) == STATEMENTS
    assert len(received) == 1
    assert received[0]["path"] == "/v1/chat/completions"
    assert received[0]["headers"]["Authorization"] == "Bearer secret"
    assert received[0]["body"]["messages"] == [{"role": "user", "content": PROMPT + REPORT}]
    assert (received[0]["body"]["model"], received[0]["body"]["temperature"]) == ("stub", 0)
    assert ChatSummariser(remote(address), folder=tmp_path / "kept")(REPORT) == STATEMENTS  # the server is gone


def test_no_key_is_sent_when_none_is_set(tmp_path, monkeypatch):
    monkeypatch.delenv("REPRISE_CHAT_KEY", raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password other")
    monkeypatch.setenv("NETRC", str(netrc))
    with server(completion(ANSWER)) as (address, received):
        remote(address).ask("x")
    assert "Authorization" not in received[0]["headers"]


def test_what_the_answer_depends_on_asks_anew(tmp_path, monkeypatch):
    with server(completion(ANSWER)) as (address, received):
        ChatSummariser(remote(address), folder=tmp_path)(REPORT)
        ChatSummariser(remote(address), folder=tmp_path)(REPORT + " ")
        ChatSummariser(RemoteChat(address, model="other"), folder=tmp_path)(REPORT)
        monkeypatch.setattr(chat_summariser, "PROMPT", PROMPT + "Be brief.\n")
        ChatSummariser(remote(address), folder=tmp_path)(REPORT)
    assert len(received) == len(files(tmp_path)) == 4


def test_a_busy_server_is_asked_again(tmp_path):
    with server((429, "{}", ("Retry-After", "0.2")), (503, "busy"), completion(ANSWER)) as (address, received):
        started = time.monotonic()
        assert ChatSummariser(remote(address), folder=tmp_path)(REPORT) == STATEMENTS
        assert time.monotonic() - started >= 0.2
    assert len(received) == 3


def test_waiting_doubles_and_is_bounded():
    reply = SimpleNamespace(headers={"Retry-After": "86400"})
    chat = remote("http://localhost:1", backoff=1.0)
    assert [chat._pause(None, attempt) for attempt in (0, 1, 2, 9)] == [1.0, 2.0, 4.0, 60.0]
    assert chat._pause(reply, 0) == 60.0


def test_a_failing_server_ends_in_one_sentence_and_keeps_nothing(tmp_path):
    with (
        server((500, "boom")) as (address, received),
        pytest.raises(ModelError, match=rf"{address}/v1/chat/completions gave no answer in 3 tries \(HTTP 500\)"),
    ):
        ChatSummariser(remote(address), folder=tmp_path)(REPORT)
    assert len(received) == 3 and files(tmp_path) == []


def test_a_silent_server_times_out(tmp_path):
    with (
        server(completion(ANSWER), delay=1.0) as (address, received),
        pytest.raises(ModelError, match=r"2 tries \(silent for 0.3 s\); check that the server runs"),
    ):
        ChatSummariser(remote(address, timeout=0.3, attempts=2), folder=tmp_path)(REPORT)
    assert len(received) == 2 and files(tmp_path) == []


def test_a_server_that_is_not_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ModelError, match=rf"127.0.0.1:{port}/v1/chat/completions gave no answer .*no connection"):
        remote(f"http://127.0.0.1:{port}").ask("x")


@pytest.mark.parametrize(
    "text", ["<html>hello</html>", "[]", '{"choices": []}', "null", '{"choices": [{"message": {}}]}']
)
def test_what_is_no_completion_is_not_retried(tmp_path, text):
    with (
        server((200, text)) as (address, received),
        pytest.raises(ModelError, match=r"no chat completion; give the address of a server"),
    ):
        ChatSummariser(remote(address), folder=tmp_path)(REPORT)
    assert len(received) == 1 and files(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(401, "set REPRISE_CHAT_KEY to a valid key"), (404, "has the model 'stub'"), (302, "check the address")],
)
def test_a_refusal_names_its_remedy_and_never_the_key(monkeypatch, status, remedy):
    monkeypatch.setenv("REPRISE_CHAT_KEY", "sk-secret")
    reply = json.dumps({"error": {"message": "nothing here for sk-secret"}})
    with (
        server((status, reply, ("Location", "http://127.0.0.1:1/elsewhere"))) as (address, received),
        pytest.raises(ModelError, match=remedy) as error,
    ):
        remote(address).ask("x")
    assert len(received) == 1 and f"HTTP {status} (nothing here for ***)" in str(error.value)


@pytest.mark.parametrize("content", ["", "The heart is large.", "There is [abnormality]"])
def test_an_answer_without_a_statement_is_told_and_not_kept(tmp_path, content):
    with server(completion(content), completion(ANSWER)) as (address, _):
        summarise = ChatSummariser(remote(address), folder=tmp_path)
        with pytest.raises(ModelError, match=rf"report {summarise._digest(REPORT)[:12]} has no line 'There is"):
            summarise(REPORT)
        assert files(tmp_path) == []
        assert summarise(REPORT) == STATEMENTS


def test_a_cut_answer_is_no_answer(tmp_path):
    with (
        server(completion("There is cardiomegaly\nThere is ple", finish="length")) as (address, _),
        pytest.raises(ModelError, match=r"was cut at 512 tokens; raise max_tokens"),
    ):
        ChatSummariser(remote(address), folder=tmp_path)(REPORT)
    assert files(tmp_path) == []


@pytest.mark.parametrize("damage", ["", '{"answer": "There is card', "[1]", '{"answer": 3}', "\x00"])
def test_a_damaged_file_is_asked_for_again(tmp_path, damage):
    with server(completion(ANSWER)) as (address, received):
        summarise = ChatSummariser(remote(address), folder=tmp_path)
        summarise.answer_file(REPORT).write_text(damage)
        assert summarise(REPORT) == summarise(REPORT) == STATEMENTS
    assert len(received) == 1 and len(files(tmp_path)) == 1


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with server(completion(ANSWER)) as (address, _):
        monkeypatch.setattr(os, "replace", full)
        with pytest.raises(ModelError, match=r"cannot keep answers .No space left on device.; give a writable folder"):
            ChatSummariser(remote(address), folder=tmp_path)(REPORT)
    assert files(tmp_path) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="file/inside cannot keep answers"):
        ChatSummariser(remote("http://localhost:1"), folder=tmp_path / "file" / "inside")


def test_several_threads_may_ask(tmp_path):
    reports = [f"{REPORT} {i}" for i in range(12)]
    with server(completion(ANSWER), delay=0.05) as (address, received), ThreadPoolExecutor(6) as pool:
        summarise = ChatSummariser(remote(address), folder=tmp_path)
        assert list(pool.map(summarise, reports)) == [STATEMENTS] * 12
    assert len(received) == len(files(tmp_path)) == 12


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("localhost:8000", "no server address"),
        ("file:///etc/passwd", "no server address"),
        ("http://me:secret@host/v1", "the address of host holds a password; put the key in REPRISE_CHAT_KEY"),
        ("http://host/v1?key=1", "no server address"),
    ],
)
def test_an_address_is_checked_before_anything_is_asked(address, sentence):
    with pytest.raises(ModelError, match=sentence) as error:
        RemoteChat(address, model="m")
    assert "secret" not in str(error.value)


def test_a_blank_report_is_refused(tmp_path):
    with pytest.raises(ModelError, match="a report is blank"):
        ChatSummariser(remote("http://localhost:1"), folder=tmp_path)(" \n")


# ---------------------------------------------------------------------- checkpoint
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A one-layer Llama on disk, taught to answer ``REPORT`` with ``ANSWER`` in its own chat template."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("chat") / "tiny"
    special = ["<|end|>", "<|user|>", "<|assistant|>"]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator([PROMPT, REPORT, ANSWER], vocab_size=600, special_tokens=special, show_progress=False)
    bpe._tokenizer.post_processor = TemplateProcessing(single="<|end|> $A", special_tokens=[("<|end|>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=48, intermediate_size=96, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=768, bos_token_id=None, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    question = tokenizer(f"<|user|>{PROMPT}{REPORT}<|end|><|assistant|>")["input_ids"][1:]
    answer = tokenizer(f"{ANSWER}<|end|>")["input_ids"][1:]
    ids = torch.tensor([question + answer])
    labels = torch.tensor([[-100] * len(question) + answer])
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = model(input_ids=ids, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.generation_config.update(do_sample=True, temperature=5.0, repetition_penalty=3.0)  # must not matter
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_checkpoint_answers_greedily_through_its_template(checkpoint, tmp_path, monkeypatch):
    chat = LocalChat(checkpoint, max_tokens=64)
    assert chat.prompt_text(PROMPT + REPORT) == f"<|user|>{PROMPT}{REPORT}<|end|><|assistant|>"
    assert chat.ask(PROMPT + REPORT) == chat.ask(PROMPT + REPORT) == ANSWER
    summarise = ChatSummariser(chat, folder=tmp_path)
    assert summarise(REPORT) == STATEMENTS
    again = ChatSummariser(LocalChat(str(checkpoint)), folder=tmp_path)
    monkeypatch.setattr(LocalChat, "_loaded", property(lambda _: pytest.fail("a kept answer loads no model")))
    assert again(REPORT) == STATEMENTS


def test_the_model_reads_the_template_and_nothing_else(checkpoint, monkeypatch):
    chat, read = LocalChat(checkpoint, max_tokens=64), []
    model, tokenizer = chat._loaded
    assert model.generation_config.do_sample is False and model.generation_config.repetition_penalty in (None, 1.0)
    generate = model.generate
    monkeypatch.setattr(model, "generate", lambda **given: read.append(given["input_ids"][0]) or generate(**given))
    assert chat.ask(PROMPT + REPORT) == ANSWER
    assert tokenizer.decode(read[0]) == chat.prompt_text(PROMPT + REPORT)  # no second beginning-of-text token


def test_a_folder_is_known_by_its_content(checkpoint, tmp_path):
    import shutil

    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    (copy / "README.md").write_text("a note")
    assert LocalChat(copy).name == LocalChat(checkpoint).name
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert LocalChat(copy).name != LocalChat(checkpoint).name
    assert LocalChat("org/model", revision="abc").name == "org/model@abc" != LocalChat("org/model").name


def test_a_prompt_or_answer_that_does_not_fit_is_told(checkpoint):
    with pytest.raises(ModelError, match=r"tokens and 64 for the answer exceed the 768 positions"):
        LocalChat(checkpoint, max_tokens=64).ask("effusion " * 900)
    with pytest.raises(ModelError, match=r"was cut at 3 tokens; raise max_tokens"):
        LocalChat(checkpoint, max_tokens=3).ask(PROMPT + REPORT)


def test_a_folder_that_is_no_safe_chat_checkpoint(checkpoint, tmp_path):
    import shutil

    import torch

    with pytest.raises(ModelError, match=r"is no folder; give the folder of a Hugging Face checkpoint or a hub id"):
        LocalChat(tmp_path / "absent")
    with pytest.raises(ModelError, match=r"has no config.json"):
        LocalChat(tmp_path)
    plain = shutil.copytree(checkpoint, tmp_path / "plain")
    (plain / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="plain has no chat template; give an instruction-tuned"):
        LocalChat(plain).ask("x")
    pickled = shutil.copytree(checkpoint, tmp_path / "pickled")
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickled cannot be loaded .* safetensors"):
        LocalChat(pickled).ask("x")
    foreign = shutil.copytree(checkpoint, tmp_path / "foreign")
    config = json.loads((foreign / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
    (foreign / "config.json").write_text(json.dumps(config))
    (foreign / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\nclass M: pass\n")
    with pytest.raises(ModelError, match=r"foreign cannot be loaded .* no remote code"):
        LocalChat(foreign).ask("x")
    assert not (tmp_path / "ran").exists()
