"""A multimodal language model on any Hugging Face causal LM: visual tokens stand where the prompt has placeholders.

E3D-GPT, M3D and LLaVA alike (sheet 2.4): a text with as many placeholders as there are visual tokens is embedded, and the
projected features of the volume take their places. Answers are generated greedily or by sampling, with a key-value cache.

    tokenizer_with_slot(language, tokenizer)
    model = VisualCausalLM(language, build_projector("convolution", ...), slot=tokenizer.convert_tokens_to_ids(SLOT))
    loss = model(features, input_ids=ids, attention_mask=mask, labels=labels)
    new = model.generate(features, input_ids=ids, attention_mask=mask, max_new_tokens=64, eos=2, pad=0)
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lib.models import ModelError
from lib.models.checkpoints import load_strictly

SLOT = "<im_patch>"  # M3D's placeholder


def tokenizer_with_slot(language: nn.Module, tokenizer) -> int:
    """The placeholder's id; where the tokenizer has none, it is added to it, and a row to the model's embeddings."""
    if SLOT not in tokenizer.get_vocab():
        tokenizer.add_tokens([SLOT], special_tokens=True)
    slot, rows = tokenizer.convert_tokens_to_ids(SLOT), language.get_input_embeddings().num_embeddings
    if slot >= rows:
        language.resize_token_embeddings(slot + 1, mean_resizing=False)
    return slot


class VisualCausalLM(nn.Module):
    """``language``: a causal LM or a PEFT model of one. ``projector``: features (B, T, d) -> (B, V, hidden); ``None``: blind.

    ``vision``: volumes (B, 1, X, Y, Z) -> tokens (B, 1 + T, d), class token first (dropped); ``None``: features are given.
    """

    def __init__(self, language: nn.Module, projector: nn.Module | None, *, slot: int, vision: nn.Module | None = None):
        super().__init__()
        self.language, self.projector, self.vision, self.slot = language, projector, vision, slot

    def embed(self, seen: Tensor | None, input_ids: Tensor) -> Tensor:
        """Embeddings (B, L, hidden) of ``input_ids``, the placeholders' replaced. ``seen``: volumes or features, by row.

        Raises :class:`ModelError` when a row has another number of placeholders than there are visual tokens.
        """
        words = self.language.get_input_embeddings()(input_ids)
        if self.projector is None:
            return words
        tokens = seen if self.vision is None else self.vision(seen)[:, 1:]
        visual = self.projector(tokens).to(words.dtype)  # (B, V, hidden)
        places = input_ids == self.slot
        if input_ids.device.type == "cpu" and (places.sum(dim=1) != visual.shape[1]).any():
            raise ModelError(
                f"a prompt has {int(places.sum(dim=1).min())} placeholders {SLOT} for {visual.shape[1]} visual tokens; "
                "write the prompt for this projector"
            )
        return words.masked_scatter(places[..., None], visual)

    def forward(self, seen: Tensor | None, *, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
        """Mean next-token loss of ``labels`` (B, L), -100 where it is not counted."""
        logits = self.logits(seen, input_ids=input_ids, attention_mask=attention_mask)[:, :-1]
        return nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels[:, 1:].flatten())

    def logits(self, seen: Tensor | None, *, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, L, vocabulary)."""
        embedded = self.embed(seen, input_ids)
        return self.language(inputs_embeds=embedded, attention_mask=attention_mask, use_cache=False).logits

    @torch.no_grad()
    def generate(
        self,
        seen: Tensor | None,
        *,
        input_ids: Tensor,
        attention_mask: Tensor,
        max_new_tokens: int,
        eos: int,
        pad: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
    ) -> Tensor:
        """New tokens (B, N) after prompts (B, L) padded on the left. ``temperature`` 0: greedy; above: sampled from ``top_p``."""
        how = {"do_sample": temperature > 0}
        if temperature > 0:
            how |= {"temperature": temperature, "top_p": top_p, "top_k": 0}
        return self.language.generate(
            inputs_embeds=self.embed(seen, input_ids), attention_mask=attention_mask, max_new_tokens=max_new_tokens,
            eos_token_id=eos, pad_token_id=pad, use_cache=True, **how,
        )  # fmt: skip


def save_weights(module: nn.Module, path: Path) -> None:
    """All weights and buffers of ``module`` as safetensors."""
    save_file({name: value.detach().contiguous().clone().cpu() for name, value in module.state_dict().items()}, path)


def load_weights(module: nn.Module, path: Path) -> nn.Module:
    """``module`` with the weights of ``path``, every name and shape as it has them; else :class:`ModelError` names the first."""
    if not Path(path).is_file():
        raise ModelError(f"{path} does not exist; train this arm, or name the folder that holds it")
    try:
        state = load_file(path)
    except Exception as error:  # safetensors has its own class
        raise ModelError(f"{path} is no safetensors file ({error}); fetch or train it again") from None
    load_strictly(module, state, path)
    return module
