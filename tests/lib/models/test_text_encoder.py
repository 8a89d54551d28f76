"""The text encoder against the release's pooling written out, whatever the padding, and its checkpoint folder."""

import json
import shutil

import pytest
import torch

from lib.models.text_encoder import POSITIONS, TextEncoder, write_tiny_checkpoint

TEXTS = [
    "There is emphysema",
    "There is pleural effusion. There is a lung nodule, 7 mm",
    "Cardiomegaly without vascular crowding",
    "There are hyperinflated lungs with emphysematous changes",  # words the tokenizer cuts into pieces
]
LONG = " ".join(["effusion and nodule"] * 60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text") / "tiny"
    write_tiny_checkpoint(folder, TEXTS[:3], width=32, depth=5, heads=4)
    return folder


@pytest.fixture(scope="module")
def encoder(folder):
    torch.manual_seed(0)
    return TextEncoder.from_pretrained(folder, width=12).eval()


def release_pooling(encoder, text, *, last_layers=4):
    """The release, step by step: words of summed pieces, zero rows after [SEP], mean of 97 rows, sum of layers."""
    inputs = encoder.tokenizer(text, truncation=True, max_length=POSITIONS, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    states = encoder.bert(**inputs, output_hidden_states=True).hidden_states
    pieces = encoder.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist())
    total, words = torch.zeros(states[0].shape[-1]), []
    for layer in states[-last_layers:]:
        rows, words = [], []
        for piece, embedding in zip(pieces, layer[0], strict=True):
            if piece.startswith("##"):
                rows[-1], words[-1] = rows[-1] + embedding, words[-1] + piece[2:]
            else:
                rows.append(embedding)
                words.append(piece)
            if piece == "[SEP]":
                break
        rows += [torch.zeros_like(rows[0])] * (POSITIONS - len(rows))
        total = total + torch.stack(rows).mean(dim=0)
    return encoder.embedder(total), pieces, words


# ---------------------------------------------------------------------- pooling
@pytest.mark.parametrize("text", [*TEXTS, LONG, "x"])
def test_pooling_is_the_release_s(encoder, text):
    expected, pieces, words = release_pooling(encoder, text)
    found = encoder(**encoder.tokenize([text]))
    assert found.shape == (1, 12)
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-5)
    if text == TEXTS[3]:
        assert len(words) < len(pieces) and "hyperinflated" in words  # pieces were summed, not counted apart
    if text == LONG:
        assert len(pieces) == POSITIONS and pieces[-1] == "[SEP]"


@pytest.mark.parametrize("last_layers", [1, 2])
def test_only_the_last_layers_are_summed(folder, last_layers):
    torch.manual_seed(0)
    encoder = TextEncoder.from_pretrained(folder, width=12, last_layers=last_layers).eval()
    expected, *_ = release_pooling(encoder, TEXTS[1], last_layers=last_layers)
    torch.testing.assert_close(encoder(**encoder.tokenize([TEXTS[1]]))[0], expected, rtol=0, atol=1e-5)


def test_padding_and_neighbours_change_nothing(encoder):
    batch = encoder.tokenize([*TEXTS, LONG])
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (5, POSITIONS)
    together = encoder(**batch)
    for number, text in enumerate([*TEXTS, LONG]):
        torch.testing.assert_close(encoder(**encoder.tokenize([text]))[0], together[number], rtol=0, atol=1e-5)
    wrong = {**batch, "attention_mask": torch.ones_like(batch["attention_mask"])}
    assert (encoder(**wrong)[0] - together[0]).abs().max() > 1e-3  # padding that is attended to would show


def test_case_does_not_matter_and_word_order_does(encoder):
    def embed(text):
        return encoder(**encoder.tokenize([text]))

    torch.testing.assert_close(embed("THERE IS Emphysema"), embed("there is emphysema"), rtol=0, atol=0)
    assert (embed("emphysema is there") - embed("there is emphysema")).abs().max() > 1e-4


def test_gradients_reach_every_part_that_is_used(folder):
    encoder = TextEncoder.from_pretrained(folder, width=12, last_layers=2)
    encoder(**encoder.tokenize(TEXTS)).square().sum().backward()
    without = {name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()}
    assert without == set()


# ---------------------------------------------------------------------- the checkpoint folder
def test_the_folder_is_a_hugging_face_checkpoint(folder, encoder):
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert tokenizer.convert_ids_to_tokens(tokenizer("There is emphysema")["input_ids"]) == [
        *("[CLS]", "there", "is", "emphysema", "[SEP]")
    ]
    assert tokenizer.decode(tokenizer(TEXTS[3])["input_ids"], skip_special_tokens=True) == TEXTS[3].lower()
    assert tokenizer.pad_token_id == 0 and tokenizer.unk_token == "[UNK]"
    model = AutoModel.from_pretrained(folder, local_files_only=True, add_pooling_layer=False).eval()
    batch = encoder.tokenize(TEXTS)
    theirs, ours = model(**batch).last_hidden_state, encoder.bert(**batch).last_hidden_state
    torch.testing.assert_close(theirs, ours, rtol=0, atol=0)
    config = json.loads((folder / "config.json").read_text())
    assert (config["hidden_size"], config["num_hidden_layers"], config["max_position_embeddings"]) == (32, 5, 97)


def test_the_same_texts_give_the_same_files_and_leave_the_random_state_alone(folder, tmp_path):
    torch.manual_seed(7)
    state = torch.get_rng_state()
    for name, texts in (("same", TEXTS[:3]), ("order", TEXTS[2::-1])):
        write_tiny_checkpoint(tmp_path / name, texts, width=32, depth=5, heads=4)
    assert torch.equal(torch.get_rng_state(), state)
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "same" / file).read_bytes() == (folder / file).read_bytes()
    tokenizers = [
        json.loads((f / "tokenizer.json").read_text())["model"]["vocab"] for f in (folder, tmp_path / "order")
    ]
    assert tokenizers[0] == tokenizers[1]


def test_only_safetensors_are_loaded(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "pickled")
    weights = TextEncoder.from_pretrained(copy, width=12).bert.state_dict()
    (copy / "model.safetensors").unlink()
    torch.save(weights, copy / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        TextEncoder.from_pretrained(copy, width=12)


def test_parts_that_are_joined_give_the_tokens_of_the_joined_text(folder):
    encoder = TextEncoder.from_pretrained(folder, width=12)
    parts = [[TEXTS[0]], [TEXTS[1], TEXTS[0]], [TEXTS[2]] * 40]  # the last is cut off
    whole = encoder.tokenize([" ".join(text) for text in parts])
    for _ in range(2):  # the second time from what is kept
        joined = encoder.tokenize_joined(parts)
        for name in whole:
            assert torch.equal(joined[name], whole[name]), name
    short = encoder.tokenize_joined(parts[:1])
    assert short["input_ids"].shape[1] % 4 == 0
    alone = encoder.tokenize([TEXTS[0]])
    torch.testing.assert_close(encoder(**short), encoder(**alone), rtol=0, atol=1e-6)
