"""A LLaVA of a few thousand random weights with its processor, written as a Hugging Face folder: the real classes, offline."""

from pathlib import Path

IMAGE, END = "<image>", "</s>"
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}USER: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %} ASSISTANT:"
    "{% else %}{% for part in message['content'] %} {{ part['text'] }}{% endfor %}</s>{% endif %}{% endfor %}"
)


def write_tiny_llava(folder: Path, *, texts: list[str], seed: int = 0) -> None:
    """A LLaVA whose tokenizer knows the words of ``texts``; images of any size become four visual tokens."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    splitter = pre_tokenizers.Whitespace()
    words = {piece for text in texts for piece, _ in splitter.pre_tokenize_str(text)}
    vocabulary = ["<pad>", "<unk>", "<s>", END, IMAGE, *sorted(words | {"USER", "ASSISTANT", ":", "A", "B", "C", "D"})]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    inner.pre_tokenizer = splitter
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token=END,
        additional_special_tokens=[IMAGE],
    )  # fmt: skip
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    processor = LlavaProcessor(
        pictures, tokenizer, patch_size=8, vision_feature_select_strategy="default", chat_template=TEMPLATE,
        image_token=IMAGE, num_additional_image_tokens=1,
    )  # fmt: skip
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=16, patch_size=8, projection_dim=16, **sizes),
        text_config=LlamaConfig(vocab_size=len(vocabulary), pad_token_id=0, bos_token_id=2, eos_token_id=3,
            initializer_range=0.3, **sizes,
        ),
        image_token_index=vocabulary.index(IMAGE), vision_feature_layer=-1,
    )  # fmt: skip
    torch.manual_seed(seed)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
