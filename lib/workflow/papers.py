"""The facts of a paper (``papers/<slug>/paper.yml``), as checked objects.

Every number a paper printed lives in a ``published`` table with its source; nothing else in the project holds one.

>>> paper = load_paper(slugs()[0])
>>> paper.claim(paper.claims[0].id) == paper.claims[0]
True
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from lib.workflow import paths

Text = Annotated[str, Field(min_length=3)]


class PaperError(ValueError):
    """A ``paper.yml`` or ``experiments.yml`` that breaks its schema; the message names file and key."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Resource(Strict):
    """Code, a dataset or a set of weights: where it is, which revision, under which licence."""

    name: Text
    id: str | None = None  # Hugging Face id, Zenodo record ...
    url: str | None = None
    revision: str | None = None
    licence: str | None  # null = not found
    note: str | None = None


class PublishedTable(Strict):
    """Numbers printed by the authors. ``rows`` maps a row name to one value a column; null = not found."""

    title: Text
    source: Text  # table, figure, section or file in which the numbers are printed
    unit: str
    columns: list[str] = Field(min_length=1)
    rows: dict[str, list[FiniteFloat | None]] = Field(min_length=1)
    note: str | None = None

    @model_validator(mode="after")
    def _one_value_a_column(self):
        for name, values in self.rows.items():
            if len(values) != len(self.columns):
                raise ValueError(f"row '{name}' has {len(values)} values for {len(self.columns)} columns")
        return self


class Cell(Strict):
    """One published number: a cell of a published table."""

    table: str
    row: str
    column: str


class Arms(Strict):
    """The two arms whose paired difference (treatment - baseline) is judged; a number as baseline is a fixed reference."""

    treatment: Text
    baseline: str | float


class Control(Strict):
    """Two arms that share with the claim's everything but the cause, and the reason why they do."""

    arms: Arms
    reason: Text

    @model_validator(mode="after")
    def _can_fail(self):
        if self.arms.treatment == self.arms.baseline:
            raise ValueError(f"the control compares '{self.arms.treatment}' with itself, so it cannot fail")
        return self


Evidence = Literal["printed", "released", "real", "miniature"]


class Claim(Strict):
    """One claim of the paper, stated so that it can fail.

    ``higher`` / ``lower``: treatment minus baseline lies beyond ``margin`` in that direction, and clearly more so than the
    ``control``'s; ``different``: on either side. ``equal``: it lies within ``margin`` of zero, and the
    ``positive_control``, two arms known to differ, does not. ``evidence``: what can test it; a claim that names a
    benchmark, a size or a product has no miniature among it. ``needs``: what a test would take, of a claim without one.
    """

    id: Annotated[str, Field(pattern=r"^[A-Z][0-9]+[a-z]?$")]
    statement: Text
    source: Literal["paper", "README", "implied", "ours"]  # who says so; ours: a control of our own
    evidence: list[Evidence] = Field(min_length=1)
    quantity: Text
    direction: Literal["higher", "lower", "equal", "different"]
    margin: Annotated[float, Field(ge=0)] = 0.0
    arms: Arms
    control: Control | None = None
    positive_control: Control | None = None
    exhibit: Text  # notebook that tests it, existing or planned
    published: list[Cell] = []
    needs: Text | None = None
    note: str | None = None

    @property
    def counterpart(self) -> Control:
        """The control that goes with the direction."""
        return self.positive_control if self.direction == "equal" else self.control

    @model_validator(mode="after")
    def _has_the_control_of_its_direction(self):
        if self.direction == "equal" and self.margin == 0:
            raise ValueError("direction 'equal' needs a margin above 0")
        wanted, other = (
            ("positive_control", "control") if self.direction == "equal" else ("control", "positive_control")
        )
        if getattr(self, wanted) is None or getattr(self, other) is not None:
            raise ValueError(f"direction '{self.direction}' needs a {wanted}, and no {other}")
        if self.counterpart.arms == self.arms:
            raise ValueError(f"the {wanted} compares the claim's own arms, so it tells nothing")
        return self


class Paper(Strict):
    """Everything ``paper.yml`` holds. ``published`` maps a table id to its table."""

    slug: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    short: Text  # the name people use: "BrgSA"
    title: Text
    authors: list[str] = Field(min_length=1)
    year: int
    venue: str | None
    arxiv: str | None
    code: Resource
    data: list[Resource]
    models: list[Resource]
    claims: list[Claim] = Field(min_length=1)
    published: dict[str, PublishedTable]

    @model_validator(mode="after")
    def _references_exist(self):
        ids = [claim.id for claim in self.claims]
        for duplicate in {i for i in ids if ids.count(i) > 1}:
            raise ValueError(f"claim id '{duplicate}' is used twice")
        for claim in self.claims:
            for cell in claim.published:
                table = self.published.get(cell.table)
                if table is None:
                    raise ValueError(f"claim {claim.id} cites the table '{cell.table}', which is not under 'published'")
                if cell.row not in table.rows or cell.column not in table.columns:
                    raise ValueError(
                        f"claim {claim.id} cites '{cell.row}' / '{cell.column}', not in the table '{cell.table}'"
                    )
        return self

    def claim(self, claim_id: str) -> Claim:
        for claim in self.claims:
            if claim.id == claim_id:
                return claim
        raise PaperError(
            f"papers/{self.slug}/paper.yml has no claim '{claim_id}'; it has {', '.join(c.id for c in self.claims)}"
        )

    def number(self, table: str, row: str, column: str) -> float | None:
        """One published number; ``None`` where the number was not found."""
        try:
            found = self.published[table]
            return found.rows[row][found.columns.index(column)]
        except (KeyError, ValueError):
            raise PaperError(
                f"papers/{self.slug}/paper.yml has no published number {table} / {row} / {column}"
            ) from None


class _UniqueKeys(yaml.CSafeLoader):
    """Refuses a key written twice: YAML keeps the last one, and a published number would be lost without a word."""

    def construct_mapping(self, node, deep=False):
        keys = set()
        for key, _ in node.value:
            if key.value in keys:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key.value}' is written twice", key.start_mark
                )
            keys.add(key.value)
        return super().construct_mapping(node, deep)


@lru_cache(maxsize=64)
def _parsed(text: str, schema):
    """One object a text, however often it is asked for in a process (a paper has several notebooks): change none."""
    return schema.model_validate(yaml.load(text, Loader=_UniqueKeys))


def read(path: Path, schema):
    """The YAML file as an object of ``schema``; raises :class:`PaperError` naming file and key."""
    label = paths.relative(path)
    if not path.is_file():
        raise PaperError(f"{label} does not exist; known papers: {', '.join(slugs()) or 'none'}")
    try:
        return _parsed(path.read_text(encoding="utf-8"), schema)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PaperError(f"{label} is not valid YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "(top level)"
        more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise PaperError(f"{label}, key {key}: {first['msg']}{more}") from None


def slugs() -> list[str]:
    """The papers the project knows, in alphabetical order."""
    return sorted(path.parent.name for path in paths.PAPERS.glob("*/paper.yml"))


def load_paper(slug: str) -> Paper:
    """Read and check ``papers/<slug>/paper.yml``; raises :class:`PaperError` naming file and key."""
    path = paths.paper(slug) / "paper.yml"
    paper = read(path, Paper)
    if paper.slug != slug:
        raise PaperError(f"{paths.relative(path)}, key slug: '{paper.slug}' is not the folder's name '{slug}'")
    return paper
