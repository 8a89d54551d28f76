"""lib stays thin: each of its modules is used by two papers, or stands below with why it stays."""

from lib.workflow import closure, notebooks, papers, paths

# The runner, the figures and the explorer serve every notebook alike; they are not what a paper is made of.
SHARED = ("lib.workflow", "lib.figures", "lib.drawing", "lib.explorer", "lib.embeddings")

# No other paper is known to take these; they stay because people look for them in a library of this field.
LOOKED_FOR = {
    "lib.models.cross_attention": "cross-attention alignment (SimR), with the released names",
    "lib.models.cross_attention_scoring": "its scores in blocks, for any two encoders",
    "lib.models.vision_transformer_2d": "a ViT with MAE's names",
    "lib.models.word_features": "word and sentence features of a BERT, as GLoRIA's descendants take them",
    "lib.models.inflated_resnet": "an inflated 3-D ResNet with Astra's names",
    "lib.models.masked_autoencoder": "the 3-D masked autoencoder of BrgSA, whose encoders are trained with it",
    "lib.models.multimodal_lm": "a small multimodal Llama that runs many at a time",
    "lib.models.product_attention": "attention of any Hugging Face model by numpy's products",
    "lib.models.projectors": "what stands between a 3-D image encoder and a language model",
    "lib.models.visual_causal_lm": "a multimodal model on any Hugging Face causal LM",
    "lib.models.volume_autoencoder": "a 3-D masked autoencoder with ratio, targets and positions open",
    "lib.data.chest_ct.reports": "its reports in free text",
    "lib.data.chest_ct.world": "the generated chest CT as a CT-RATE tree",
    "lib.models.knowledge_bank": "the bank and its interaction (CMKI), as a module",
}


def _name(file) -> str:
    return ".".join(file.relative_to(paths.ROOT).with_suffix("").parts).removesuffix(".__init__")


def _users() -> dict[str, set[str]]:
    """Module of lib -> the papers whose code or notebooks need it, directly or through other modules."""
    users = {_name(file): set() for file in (paths.ROOT / "lib").rglob("*.py") if file.name != "__init__.py"}
    for slug in papers.slugs():
        needed = set(closure.modules(*(_name(file) for file in paths.paper(slug).rglob("*.py"))))
        for notebook in (paths.NOTEBOOKS / slug).glob("*.ipynb"):
            needed |= set(notebooks.files(notebook))
        for file in needed:
            users.get(_name(file), set()).add(slug)
    return {module: by for module, by in users.items() if not module.startswith(SHARED)}


USERS = _users()


def test_a_module_of_lib_serves_two_papers_or_says_why_it_stays():
    alone = {module: sorted(by) for module, by in USERS.items() if len(by) < 2 and module not in LOOKED_FOR}
    assert not alone, f"used by fewer than two papers: {alone}; move each into its paper, or say here why it stays"


def test_the_list_holds_nothing_that_two_papers_use():
    done = {module: by for module in LOOKED_FOR if len(by := sorted(USERS.get(module, ()))) > 1}
    assert not done, f"take these off the list, two papers use them: {done}"
