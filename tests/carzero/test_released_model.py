"""Released checkpoints: a Lightning file with configuration objects is read without running them; wrong ones end in a sentence."""

import sys
import types

import pytest
import torch

from lib.models import ModelError
from lib.models.cross_attention import CrossAttentionAlignment
from lib.models.text_encoder import write_tiny_checkpoint
from papers.carzero.model import build
from papers.carzero.released_model import convert_image_encoder, fusion_of, load_released, read_lightning

SIZES = {"width": 16, "layers": 2, "feedforward": 8, "head_widths": (6, 5, 4)}
IMAGE = {"size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2}
FUSION = {name: value for name, value in SIZES.items() if name != "width"}


@pytest.fixture
def omegaconf(monkeypatch):
    """A stand-in of the package, there while a file is written and gone when it is read."""
    module = types.ModuleType("omegaconf.dictconfig")

    class DictConfig:
        def __init__(self):
            self.content = {"lr": 5e-5}

    DictConfig.__module__, DictConfig.__qualname__ = "omegaconf.dictconfig", "DictConfig"
    module.DictConfig = DictConfig
    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
    monkeypatch.setitem(sys.modules, "omegaconf.dictconfig", module)
    return DictConfig


@pytest.fixture
def net(tmp_path):
    write_tiny_checkpoint(tmp_path / "text", ["there is mass"], width=16, depth=2, heads=2)
    alignment = {"kind": "simr", "head": "mlp", "memory": "both"}
    return build(image=IMAGE, text=tmp_path / "text", fusion=FUSION, alignment=alignment, positions=12, last_layers=2)


def released(net):
    """The state dict under the released names, with what BERT saves besides."""
    parts = {"fusion_module.": net.alignment.fusion, "img_encoder.model.": net.img_encoder.model}
    parts["text_encoder.model."] = net.text_encoder.model
    state = {f"CARZero.{at}{name}": value for at, one in parts.items() for name, value in one.state_dict().items()}
    state["CARZero.text_encoder.model.pooler.dense.weight"] = torch.zeros(16, 16)
    return state


def write(path, state, **rest):
    torch.save({"state_dict": state, "epoch": 3, **rest}, path)
    return path


def test_a_lightning_file_is_read_without_its_packages(net, tmp_path, omegaconf, monkeypatch):
    path = write(tmp_path / "best.ckpt", released(net), hyper_parameters=omegaconf())
    for name in ("omegaconf", "omegaconf.dictconfig"):
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(Exception, match=r"omegaconf|weights_only|Weights only"):
        torch.load(path, weights_only=True)
    state = read_lightning(path)
    assert state.keys() == released(net).keys()
    fusion = fusion_of(state, path, **SIZES)
    assert torch.equal(fusion.decoder.norm.weight, net.alignment.fusion.decoder_norm.weight)


def test_the_whole_model_is_filled(net, tmp_path):
    path = write(tmp_path / "best.ckpt", {name: torch.full_like(v, 0.25) for name, v in released(net).items()})
    load_released(net, path)
    for part in (net.alignment.fusion, net.img_encoder, net.text_encoder):
        assert all(torch.equal(p, torch.full_like(p, 0.25)) for p in part.parameters())


def test_both_files_give_the_image_encoder(net, tmp_path):
    from safetensors.torch import load_file

    plain = net.img_encoder.model.state_dict()
    for file, prefix in (("a.ckpt", "vision_encoder."), ("b.ckpt", "CARZero.img_encoder.model.")):
        path = write(tmp_path / file, {f"{prefix}{name}": value for name, value in plain.items()})
        convert_image_encoder(tmp_path, checkpoint=path)
        assert load_file(tmp_path / "image.safetensors").keys() == plain.keys()
    with pytest.raises(ModelError, match="has no weights under"):
        convert_image_encoder(tmp_path, checkpoint=write(tmp_path / "c.ckpt", {"other": torch.zeros(1)}))


def lacking(state):
    del state["CARZero.fusion_module.decoder.layers.1.linear2.bias"]
    return r"fusion_module lacks the weight 'decoder\.layers\.1\.linear2\.bias' \(1 in all\)"


def extra(state):
    state["CARZero.fusion_module.decoder.layers.7.linear2.bias"] = torch.zeros(3)
    return r"has the weight 'decoder\.layers\.7\.linear2\.bias' \(1 in all\), which this model does not know"


def reshaped(state):
    state["CARZero.fusion_module.decoder_norm.weight"] = torch.zeros(9)
    return r"'decoder_norm\.weight' has shape \(9,\) where \(16,\) is expected"


@pytest.mark.parametrize("damage", [lacking, extra, reshaped])
def test_a_key_too_few_or_too_many_is_named(net, tmp_path, damage):
    state = released(net)
    sentence = damage(state)
    path = write(tmp_path / "best.ckpt", state)
    with pytest.raises(ModelError, match=sentence) as told:
        fusion_of(read_lightning(path), path, **SIZES)
    assert "\n" not in str(told.value)


class Trap:
    """What a pickle could bring: it runs when it is read."""

    def __reduce__(self):
        return print, ("it ran",)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"state_dict": {}, "hook": Trap()}, "holds objects of .*print, which are not loaded: they could run code"),
        ({"weights": {}}, "has no 'state_dict' of weights"),
        ([1, 2], "has no 'state_dict' of weights"),
    ],
)
def test_nothing_else_is_loaded(tmp_path, content, sentence, capsys):
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(ModelError, match=sentence):
        read_lightning(tmp_path / "x.ckpt")
    assert "it ran" not in capsys.readouterr().out


def test_files_that_are_none(tmp_path):
    (tmp_path / "x.ckpt").write_bytes(b"<html>Google Drive: too many downloads</html>")
    with pytest.raises(ModelError, match="is no checkpoint that can be read"):
        read_lightning(tmp_path / "x.ckpt")
    with pytest.raises(ModelError, match="does not exist; download the checkpoint first"):
        read_lightning(tmp_path / "y.ckpt")


def test_the_linear_head_is_recognised(tmp_path):
    module = CrossAttentionAlignment(width=16, layers=1, feedforward=8, head="linear")
    state = {f"CARZero.fusion_module.{name}": value for name, value in module.state_dict().items()}
    found = fusion_of(state, tmp_path, width=16, layers=1, feedforward=8)
    assert found.mlp_head[0].out_features == 1
