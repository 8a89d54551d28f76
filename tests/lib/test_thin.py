"""lib stays thin: each of its modules is used by two papers, or stands below with the paper that takes it next."""

from lib.workflow import closure, notebooks, papers, paths

# The runner, the figures and the explorer serve every notebook alike; they are not what a paper is made of.
SHARED = ("lib.workflow", "lib.figures", "lib.drawing", "lib.explorer")

# One paper uses these today; the one named here has no code yet and is to be built on them.
NEXT = {
    "e3d_gpt": {
        *(f"lib.data.{name}" for name in ("ct_rate", "ct_rate_layout", "volumes")),
        *(f"lib.data.chest_ct.{name}" for name in ("findings", "lesions", "reports", "scanner", "shapes", "world")),
        *(
            f"lib.models.{name}"
            for name in ("inflated_resnet", "masked_autoencoder", "multimodal_lm", "vision_transformer_3d")
        ),
    },
}
# No other paper is known to take these; they stay because people look for them in a library of this field.
LOOKED_FOR = {
    "lib.models.cross_attention": "cross-attention alignment (SimR), with the released names",
    "lib.models.cross_attention_scoring": "its scores in blocks, for any two encoders",
    "lib.models.vision_transformer_2d": "a ViT with MAE's names",
    "lib.models.word_features": "word and sentence features of a BERT, as GLoRIA's descendants take them",
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


def test_a_module_of_lib_serves_two_papers_or_says_which_comes_next():
    known = set(LOOKED_FOR).union(*NEXT.values())
    alone = {module: sorted(by) for module, by in USERS.items() if len(by) < 2 and module not in known}
    assert not alone, f"used by fewer than two papers: {alone}; move each into its paper, or say here who takes it next"


def test_the_lists_hold_nothing_that_two_papers_use_and_nobody_twice():
    listed = [*LOOKED_FOR, *(module for modules in NEXT.values() for module in modules)]
    assert len(listed) == len(set(listed))
    done = {module: by for module in listed if len(by := sorted(USERS.get(module, ()))) > 1}
    assert not done, f"take these off the list, two papers use them: {done}"
    for slug, modules in NEXT.items():
        for module in modules:
            assert slug in papers.slugs() and slug not in USERS[module], f"{slug} already uses {module}"
