"""A GGUF file becomes a folder of safetensors with the same numbers."""

import json

import numpy as np
import pytest
import torch

from lib.models import ModelError, causal_lm, gguf

WORDS = ["<unk>", "<|im_start|>", "<|im_end|>", *"abcdefgh", "Ġ", "ab"]
WIDTH, HEADS, LAYERS, INNER = 32, 4, 2, 64


def _tensors(rng):
    yield "token_embd.weight", (len(WORDS), WIDTH)
    yield "output_norm.weight", (WIDTH,)
    for layer in range(LAYERS):
        for name, shape in {
            "attn_norm": (WIDTH,), "ffn_norm": (WIDTH,), "attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, WIDTH),
            "attn_v": (WIDTH, WIDTH), "attn_output": (WIDTH, WIDTH), "ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH),
            "ffn_down": (WIDTH, INNER),
        }.items():  # fmt: skip
            yield f"blk.{layer}.{name}.weight", shape


@pytest.fixture
def written(tmp_path):
    """A tiny llama with eight-bit matrices, as packages carry them; returns the file and its tensors as written."""
    from gguf import GGMLQuantizationType as Kind
    from gguf import GGUFWriter, quants

    path, rng, tensors = tmp_path / "tiny.gguf", np.random.default_rng(0), {}
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([3, 3, 3] + [1] * (len(WORDS) - 3))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{% for message in messages %}<|im_start|>{{ message['content'] }}<|im_end|>{% endfor %}")
    for name, shape in _tensors(rng):
        values = rng.standard_normal(shape).astype(np.float32)
        if len(shape) == 2:
            packed = quants.quantize(values, Kind.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=Kind.Q8_0)
            tensors[name] = quants.dequantize(packed, Kind.Q8_0)
        else:
            writer.add_tensor(name, values)
            tensors[name] = values
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, tensors


def test_the_folder_holds_the_files_numbers_and_its_template(written, tmp_path):
    path, tensors = written
    folder = tmp_path / "folder"
    folder.mkdir()
    gguf.convert(folder, source=path)
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    model, tokenizer = causal_lm.load(folder)
    state = model.state_dict()
    same = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.layers.1.mlp.down_proj.weight": "blk.1.ffn_down.weight",
    }
    same |= {"model.layers.0.self_attn.v_proj.weight": "blk.0.attn_v.weight", "model.norm.weight": "output_norm.weight"}
    for ours, theirs in same.items():
        assert state[ours].dtype == torch.float32 and np.array_equal(state[ours].numpy(), tensors[theirs]), ours
    assert model.config.tie_word_embeddings and (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    assert (
        tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False) == "<|im_start|>a<|im_end|>"
    )
    assert [file.suffix for file in folder.glob("model*")] == [".safetensors"]


def test_a_file_that_is_cut_off_says_so(written, tmp_path):
    path, _ = written
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(
        ModelError, match=r"tiny\.gguf cannot be read as a GGUF language model .*fetch it again"
    ) as caught:
        gguf.convert(tmp_path, source=path)
    assert "\n" not in str(caught.value)
