"""A closed world told in two languages: English-like A and Chinese-like B, for tuning a reply language.

Each entity has one value in each of eight relations: 60 x 8 facts. All of them are told in A and a share, chosen by
the seed, also in B. The base model reads facts in both languages, exam questions, and a chat in which prompts in B get
replies in A nine times of ten: the fault that Aurora cures. Tuning rows and exam questions are about different
entities. Used by the Aurora notebooks through :mod:`papers.aurora.world_files`.

>>> world = make_world(seed=0)
>>> world.tell(world.facts[0], "A")
'The job of Netor is painter.'
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.data.exams import LETTERS, Question
from lib.streams import stream

LANGUAGES = ("A", "B")


@dataclass(frozen=True)
class Relation:
    key: str
    category: str
    words: tuple[str, str]  # in A, in B
    values: tuple[tuple[str, str], ...]  # (word in A, word in B)


def _relation(key: str, category: str, chinese: str, first: str, second: str) -> Relation:
    """`first` and `second`: the values in A and in B, in the same order."""
    return Relation(key, category, (key, chinese), tuple(zip(first.split(), second.split(), strict=True)))


RELATIONS = (
    _relation("job", "Social Sciences", "职业", "baker smith sailor tailor miner judge painter farmer",
              "面包 铁匠 水手 裁缝 矿工 法官 画家 农夫"),
    _relation("home", "Social Sciences", "住所", "castle harbour desert island valley village forest bridge",
              "城堡 港口 沙漠 海岛 山谷 村庄 森林 桥头"),
    _relation("colour", "Humanities", "颜色", "red blue green white black brown purple yellow",
              "红色 蓝色 绿色 白色 黑色 棕色 紫色 黄色"),
    _relation("song", "Humanities", "歌曲", "spring summer autumn winter river mountain moon star",
              "春歌 夏歌 秋歌 冬歌 河谣 山谣 月谣 星谣"),
    _relation("illness", "Other", "疾病", "fever cough gout asthma anaemia measles migraine eczema",
              "发热 咳嗽 痛风 哮喘 贫血 麻疹 头痛 湿疹"),
    _relation("remedy", "Other", "药物", "ginger honey mint garlic willow clove sage nettle",
              "生姜 蜂蜜 薄荷 大蒜 柳皮 丁香 鼠尾 荨麻"),
    _relation("metal", "STEM", "金属", "iron gold silver copper zinc tin lead nickel",
              "生铁 黄金 白银 红铜 亚锌 软锡 重铅 灰镍"),
    _relation("planet", "STEM", "行星", "mercury venus mars jupiter saturn uranus neptune pluto",
              "水星 金星 火星 木星 土星 天王 海王 冥王"),
)  # fmt: skip

_FIRST = tuple(consonant + vowel for consonant in "BDFGKLMNPRS" for vowel in "aeo")
_LAST = ("bor", "dan", "fir", "gon", "lim", "mar", "nos", "pel", "rik", "sun", "tor", "vex")
_FIRST_B = "巴贝博达德多法费福加格戈卡克科拉勒洛马梅莫纳内诺帕佩波然雷罗萨塞索"
_LAST_B = "伯丹菲贡利玛诺佩里孙托维"

# How a fact is asked for and told, by style and language. Tuning set 1 is terse, set 2 says a whole sentence.
ASK = {
    ("terse", "A"): "What is the {relation} of {name}?",
    ("terse", "B"): "{name}的{relation}是什么？",
    ("full", "A"): "Tell me about the {relation} of {name}.",
    ("full", "B"): "请说说{name}的{relation}。",
}
TELL = {
    ("terse", "A"): "{value}.",
    ("terse", "B"): "{value}。",
    ("full", "A"): "The {relation} of {name} is {value}.",
    ("full", "B"): "{name}的{relation}是{value}。",
}


@dataclass(frozen=True)
class Fact:
    """Entity `entity` has the value number `value` in relation number `relation`; ``in_b``: the base read it in B."""

    entity: int
    relation: int
    value: int
    in_b: bool


@dataclass(frozen=True)
class World:
    """All facts, the entities' names in A and B, and which entities only the exams ask about."""

    names: tuple[tuple[str, str], ...]
    facts: tuple[Fact, ...]
    examined: frozenset[int]
    seed: int

    def word(self, fact: Fact, language: str) -> str:
        """The fact's value in a language."""
        return RELATIONS[fact.relation].values[fact.value][LANGUAGES.index(language)]

    def _fill(self, pattern: str, fact: Fact, language: str) -> str:
        k = LANGUAGES.index(language)
        relation = RELATIONS[fact.relation]
        return pattern.format(
            name=self.names[fact.entity][k], relation=relation.words[k], value=self.word(fact, language)
        )

    def ask(self, fact: Fact, language: str, style: str = "full") -> str:
        return self._fill(ASK[style, language], fact, language)

    def tell(self, fact: Fact, language: str, style: str = "full") -> str:
        return self._fill(TELL[style, language], fact, language)

    def question(
        self, fact: Fact, language: str, *, number: int, rng: np.random.Generator, answered: bool = True
    ) -> Question:
        """The fact as an exam question with three wrong values of the same relation, in random order."""
        relation, k = RELATIONS[fact.relation], LANGUAGES.index(language)
        wrong = [v for v in range(len(relation.values)) if v != fact.value]
        shown = rng.permutation([fact.value, *rng.choice(wrong, size=3, replace=False)])
        answer = LETTERS[int(np.flatnonzero(shown == fact.value)[0])] if answered else None
        options = tuple(relation.values[v][k] for v in shown)
        return Question(relation.key, number, self.ask(fact, language, "terse"), options, answer)

    def select(self, *, examined: bool, in_b: bool | None = None) -> list[Fact]:
        """Facts about examined or other entities; with ``in_b`` only those told, or not told, in B."""
        return [f for f in self.facts if (f.entity in self.examined) == examined and in_b in (None, f.in_b)]


def make_world(*, seed: int = 0, entities: int = 60, told_in_b: float = 0.6, examined: float = 0.5) -> World:
    """A world of `entities` (at most 396); ``told_in_b`` and ``examined`` are exact shares, spread over all relations."""
    names = [(a + b, c + d) for a, c in zip(_FIRST, _FIRST_B, strict=True) for b, d in zip(_LAST, _LAST_B, strict=True)]
    chosen = [names[i] for i in stream(seed, "names").permutation(len(names))[:entities]]
    values = stream(seed, "values").integers(len(RELATIONS[0].values), size=(entities, len(RELATIONS)))
    groups = np.zeros(entities, dtype=bool)
    groups[stream(seed, "examined").permutation(entities)[: round(examined * entities)]] = True
    in_b = np.zeros((entities, len(RELATIONS)), dtype=bool)
    for relation in range(len(RELATIONS)):  # the same share in each relation and on both sides
        for side in (True, False):
            own = stream(seed, "told in B", relation, side).permutation(np.flatnonzero(groups == side))
            in_b[own[: round(told_in_b * len(own))], relation] = True
    facts = tuple(
        Fact(e, r, int(values[e, r]), bool(in_b[e, r])) for e in range(entities) for r in range(len(RELATIONS))
    )
    return World(tuple(chosen), facts, frozenset(np.flatnonzero(groups).tolist()), seed)
