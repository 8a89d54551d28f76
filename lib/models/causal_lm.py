"""Causal language models: a Hugging Face folder or hub id, loaded by one call; tiny ones are written in the same format.

``write_checkpoint`` makes a real checkpoint (config, safetensors, tokenizer, chat template) of a few thousand to a few
million weights, so that `mini` and `full` differ by a path. Used by the language-model papers.

    write_checkpoint(folder, texts=["the key is red."], chat_template="mistral", architecture="llama", width=64, depth=2)
    model, tokenizer = load(folder); model, tokenizer = load("Qwen/Qwen1.5-1.8B", device="cuda", dtype="bfloat16")
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib.models import ModelError

# On the CPU it warns of faster kernels that it would fetch from the hub, whoever imports it.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

PAD, UNKNOWN, BEGIN, END = "<pad>", "<unk>", "<s>", "</s>"

# Name -> (control tokens, template). Each assistant turn ends with the end-of-text token.
CHAT_TEMPLATES = {
    # Paper: Aurora writes the beginning-of-text token before every turn (LLaMA-Factory, template `mistral`).
    "mistral": (
        ["[INST]", "[/INST]"],
        "{% for message in messages %}{% if message['role'] == 'assistant' %} {{ message['content'] }}{{ eos_token }}"
        "{% else %}{{ bos_token }}[INST] {{ message['content'] }} [/INST]{% endif %}{% endfor %}",
    ),
    "chatml": (
        ["<|im_start|>", "<|im_end|>"],
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ),
    # Nothing but the words: a prompt, then its answer.
    "plain": (
        [],
        "{% for message in messages %}{% if message['role'] == 'assistant' %} {{ message['content'] }}{{ eos_token }}"
        "{% else %}{{ bos_token }}{{ message['content'] }}{% endif %}{% endfor %}",
    ),
}
ARCHITECTURES = ("llama", "ministral", "qwen3", "mixtral")  # AutoTokenizer takes ours for these (not for qwen2)
_PIECE = r"\n|[A-Za-z0-9_]+|[^\sA-Za-z0-9_]"  # a line break, a word, or one character of anything else (Chinese too)
_WIDE = r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]"  # written without spaces between


def _no_bars() -> None:
    """No progress bars: they are output on stderr in a notebook, and TQDM_DISABLE comes too late once torch loaded tqdm."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def pieces(text: str) -> list[str]:
    """The words, line breaks and single other characters of ``text``, in order; spaces are not kept."""
    return re.findall(_PIECE, text)


def _tokenizer(texts: Iterable[str], chat_template: str):
    """A word-level tokenizer of the pieces of ``texts``, most frequent first, ties in alphabetical order.

    Decoding writes one space between words, none around a line break or between Chinese characters, none before
    ``. , : ; ? ! )``: it gives back text that is spaced like that.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    control, template = CHAT_TEMPLATES[chat_template]
    words = set(pieces("system user assistant\n")) if chat_template == "chatml" else set()
    counts = Counter(piece for text in texts for piece in pieces(text))
    ranked = sorted(words | set(counts), key=lambda piece: (-counts[piece], piece))
    special = [PAD, UNKNOWN, BEGIN, END, *control]
    inner = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate([*special, *ranked])}, unk_token=UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[^\S\n]+"), "removed"),
            pre_tokenizers.Split(Regex(_PIECE), "isolated"),
        ]
    )
    inner.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="\x00", cleanup=False),  # a space before each piece but the first
            decoders.Fuse(),
            decoders.Replace(Regex(r" *\n *"), "\n"),
            decoders.Replace(Regex(r" (?=[.,:;?!)])"), ""),
            decoders.Replace(Regex(rf"(?<={_WIDE}) (?={_WIDE})"), ""),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=PAD, unk_token=UNKNOWN, bos_token=BEGIN,
        eos_token="<|im_end|>" if chat_template == "chatml" else END, additional_special_tokens=control,
        chat_template=template, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _config(architecture: str, tokenizer, *, width: int, depth: int, heads: int, key_value_heads: int | None, **more):
    from transformers import AutoConfig

    given = {
        "hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads or heads, "vocab_size": len(tokenizer), "tie_word_embeddings": True,
        "pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, "attention_dropout": 0.0, **more,
    }  # fmt: skip
    given.setdefault("head_dim", width // heads)
    given.setdefault("intermediate_size", 2 * width)
    given.setdefault("max_position_embeddings", 4096)
    return AutoConfig.for_model(architecture, **given)


def _known(name: str, value: str, known: dict[str, Any]) -> Any:
    if value not in known:
        raise ModelError(f"{name} '{value}' is not known; give one of {', '.join(known)}.")
    return known[value]


def write_checkpoint(
    folder: Path,
    *,
    texts: Iterable[str],
    chat_template: str,
    architecture: str,
    width: int,
    depth: int,
    heads: int = 4,
    key_value_heads: int | None = None,
    seed: int = 0,
    **config,
) -> None:
    """A randomly initialised causal LM whose tokenizer knows exactly the words of ``texts``, as a Hugging Face folder.

    ``architecture``: one of ``ARCHITECTURES``; ``chat_template``: mistral, chatml or plain; ``config``: further keys of the
    architecture's configuration (``num_local_experts``, ``intermediate_size`` ...). Same arguments, same files.
    """
    import torch
    from transformers import AutoModelForCausalLM

    _known("architecture", architecture, dict.fromkeys(ARCHITECTURES))
    _known("chat_template", chat_template, CHAT_TEMPLATES)
    tokenizer = _tokenizer(texts, chat_template)
    sizes = {"width": width, "depth": depth, "heads": heads, "key_value_heads": key_value_heads}
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(_config(architecture, tokenizer, **sizes, **config))
    torch.set_rng_state(state)
    save(folder, model, tokenizer)


def end_of_turn(tokenizer) -> int:
    """The token with which the chat template ends an answer, where a reply stops: not always the end-of-text token (a base
    model's is ``<|endoftext|>`` where its template writes ``<|im_end|>``), which it is without a template of one's own."""
    return _end_of_turn(tokenizer, tokenizer.chat_template)


@lru_cache(maxsize=4)
def _end_of_turn(tokenizer, template: str | None) -> int:
    if not template:
        return tokenizer.eos_token_id
    said = "last words"
    dialogue = [{"role": "user", "content": "asked"}, {"role": "assistant", "content": said}]
    text = tokenizer.apply_chat_template(dialogue, tokenize=False)
    after = tokenizer(text[text.rindex(said) + len(said) :], add_special_tokens=False)["input_ids"]
    control = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return next((token for token in after if token in control), tokenizer.eos_token_id)


def save(folder: Path, model, tokenizer) -> None:
    """Write model (or PEFT adapter) and tokenizer as safetensors and JSON."""
    _no_bars()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _quantisation(name: str | None, dtype: str):
    if name is None:
        return None
    if name != "nf4":
        raise ModelError(f"quantisation '{name}' is not known; give nf4, or leave it out.")
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )  # fmt: skip


def _finish_quantisation(model) -> None:
    """NF4 for the experts too, and the same arithmetic on every CPU.

    transformers keeps the experts of a layer in one tensor, which is no linear layer. bitsandbytes repacks weights and
    rounds their scales to bfloat16 on CPUs that have that format and in evaluation only; that is switched off.
    """
    from bitsandbytes.nn.parametrize import replace_parameter_4bit

    for module in list(model.modules()):
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.ndim == 3:
                replace_parameter_4bit(module, name, compress_statistics=True, quant_type="nf4")


def with_adapter(model, adapter: str | Path, *, trainable: bool):
    """The model with a PEFT adapter on it; ``unload()`` takes it off. Raises :class:`ModelError` when there is none."""
    import warnings

    from peft import PeftModel

    try:
        with warnings.catch_warnings():  # peft calls transformers by an older name
            warnings.simplefilter("ignore", FutureWarning)
            return PeftModel.from_pretrained(model, adapter, is_trainable=trainable)
    except Exception as error:
        raise _not_loaded(adapter, error) from error


def _not_loaded(source: str | Path, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ModelError(
        f"{source} cannot be loaded ({reason}); give a complete folder, or a hub id that can be reached, of a causal language "
        f"model in safetensors that needs no remote code."
    )


def load(
    source: str | Path,
    *,
    revision: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    quantisation: str | None = None,
    adapter: str | Path | None = None,
    trainable: bool = False,
    attention: str = "sdpa",
    chat_template: str | None = None,
):
    """(model in eval mode, tokenizer) of a folder or hub id: safetensors only, no remote code.

    ``quantisation``: ``nf4`` loads the linear layers in 4 bits through bitsandbytes (QLoRA, arXiv:2305.14314), on CUDA or
    on the CPU. ``adapter``: a PEFT folder or hub id to put on top, ``trainable`` or frozen. ``attention``: sdpa or eager.
    ``chat_template``: one of ``CHAT_TEMPLATES`` in the place of the checkpoint's own. Linear layers go through
    :mod:`lib.models.product`. Padding is done with the end-of-text token where there is no other. Raises :class:`ModelError` when
    the source is no checkpoint or has no such token.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from lib.models.product import use_products

    _no_bars()
    is_folder = Path(source).is_dir()
    if is_folder and not (Path(source) / "config.json").is_file():
        raise ModelError(f"{source} has no config.json; give the folder of a Hugging Face checkpoint.")
    where = {"revision": revision, "local_files_only": is_folder, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **where)
        model = AutoModelForCausalLM.from_pretrained(
            source, use_safetensors=True, dtype=getattr(torch, dtype, dtype), attn_implementation=attention,
            quantization_config=_quantisation(quantisation, dtype), device_map={"": "cpu"} if quantisation else None,
            **where,
        )  # fmt: skip
        if quantisation:
            _finish_quantisation(model)
        model = model.to(device)  # after quantising, so that a card need not hold the unquantised experts
    except Exception as error:  # safetensors, transformers and the hub each have their own
        raise _not_loaded(source, error) from error
    if adapter is not None:
        model = with_adapter(model, adapter, trainable=trainable)
    use_products(model)
    if chat_template is not None:
        tokenizer.chat_template = _known("chat_template", chat_template, CHAT_TEMPLATES)[1]
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    for name, number in (("eos_token", tokenizer.eos_token_id), ("pad_token", tokenizer.pad_token_id)):
        if number is None or number >= model.config.get_text_config().vocab_size:
            raise ModelError(f"{source} has no {name} among the words of its model; name one in tokenizer_config.json.")
    return model.eval(), tokenizer
