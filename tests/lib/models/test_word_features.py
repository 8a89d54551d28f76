"""Word features: pieces of a word are summed, rows behind the end are zeros and count in the sentence's mean."""

import pytest
import torch

from lib.models import ModelError
from lib.models.text_encoder import write_tiny_checkpoint
from lib.models.word_features import WordEncoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    write_tiny_checkpoint(folder, ["there is edema", "there is mass"], width=16, depth=2, heads=2)
    return WordEncoder.from_pretrained(folder, positions=20, last_layers=2).eval()


def test_pieces_of_a_word_share_a_row(encoder):
    words = encoder.tokenize(["there is edemas"])  # an unknown word: its letters
    pieces = encoder.tokenizer.convert_ids_to_tokens(words["input_ids"][0].tolist())
    row = words["word"][0].tolist()
    inside = [i for i, piece in enumerate(pieces) if piece.startswith("##")]
    assert inside and all(row[i] == row[i - 1] for i in inside) and row[:3] == [0, 1, 2]


def test_features_are_the_released_ones(encoder):
    words = encoder.tokenize(["there is edemas", "mass"])
    with torch.no_grad():
        sentence, parts = encoder(**words)
        hidden = encoder.model(
            input_ids=words["input_ids"], attention_mask=words["attention_mask"], output_hidden_states=True
        ).hidden_states
    layers = (hidden[-1] + hidden[-2]) * words["attention_mask"][..., None]
    for text in range(2):
        for word in range(20):
            expected = layers[text][words["word"][text] == word].sum(dim=0)
            assert torch.allclose(parts[text, word], expected, atol=1e-5)
    assert torch.allclose(sentence, parts.sum(dim=1) / 20)
    assert not parts[1, 3:].any()  # [CLS] mass [SEP], then nothing


def test_padding_changes_nothing(encoder):
    with torch.no_grad():
        alone = encoder(**encoder.tokenize(["there is mass"]))
        beside = encoder(**encoder.tokenize(["there is mass", "there is edema there is mass there is edema"]))
    assert all(torch.allclose(a[0], b[0], atol=1e-5) for a, b in zip(alone, beside, strict=True))


def test_a_text_of_zero_words_is_refused(encoder):
    with pytest.raises(ModelError, match="a text of zero words has no feature; leave its row out"):
        encoder.tokenize(["there is mass", "  "])
