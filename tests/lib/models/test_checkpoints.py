"""A checkpoint of a profile: a source's folder, or a GGUF file of it that is converted once."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from lib.models import ModelError, gguf
from lib.models.checkpoints import place

RUN = SimpleNamespace(
    source=lambda name: Path("/sources") / name,
    build=lambda function, **told: (function.__module__, function.__name__, told),
)


def test_a_folder_is_taken_as_it_is_and_a_file_is_converted():
    assert place(RUN, {"source": "mixtral"}) == Path("/sources/mixtral")
    made = (gguf.__name__, "convert", {"source": Path("/sources/small/model.gguf")})
    assert place(RUN, {"source": "small", "file": "model.gguf"}) == made


@pytest.mark.parametrize("told", [None, "group/model", {}, {"file": "model.gguf"}, {"source": "a", "revision": "b"}])
def test_anything_else_is_refused(told):
    with pytest.raises(ModelError, match=r"give \{source: name\}"):
        place(RUN, told)
