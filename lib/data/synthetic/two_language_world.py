"""A closed world told in two languages: English-like A and Chinese-like B, for tuning a reply language.

Each entity has one value in each of eight relations: 60 x 8 facts. All of them are told in A and a share, chosen by
the seed, also in B. The base model reads facts in both languages, exam questions, and a chat in which prompts in B get
replies in A nine times of ten: the fault that Aurora cures. Tuning rows and exam questions are about different
entities. Used by the Aurora notebooks through :mod:`lib.data.synthetic.two_language_files`.

>>> world = make_world(seed=0); world.tell(world.facts[0], "A")
'The job of Belor is baker.'
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.data.exams import LETTERS, Question

LANGUAGES = ("A", "B")


@dataclass(frozen=True)
class Relation:
    key: str
    category: str
    words: tuple[str, str]  # in A, in B
    values: tuple[tuple[str, str], ...]  # (word in A, word in B)


def _relation(key: str, category: str, chinese: str, values: str) -> Relation:
    pairs = [tuple(pair.split("=")) for pair in values.split()]
    return Relation(key, category, (key, chinese), tuple(pairs))


RELATIONS = (
    _relation("job", "Social Sciences", "职业", "baker=面包 smith=铁匠 sailor=水手 tailor=裁缝 miner=矿工 judge=法官 painter=画家 farmer=农夫"),
    _relation("home", "Social Sciences", "住所", "castle=城堡 harbour=港口 desert=沙漠 island=海岛 valley=山谷 village=村庄 forest=森林 bridge=桥头"),
    _relation("colour", "Humanities", "颜色", "red=红色 blue=蓝色 green=绿色 white=白色 black=黑色 brown=棕色 purple=紫色 yellow=黄色"),
    _relation("song", "Humanities", "歌曲", "spring=春歌 summer=夏歌 autumn=秋歌 winter=冬歌 river=河谣 mountain=山谣 moon=月谣 star=星谣"),
    _relation("illness", "Other", "疾病", "fever=发热 cough=咳嗽 gout=痛风 asthma=哮喘 anaemia=贫血 measles=麻疹 migraine=头痛 eczema=湿疹"),
    _relation("remedy", "Other", "药物", "ginger=生姜 honey=蜂蜜 mint=薄荷 garlic=大蒜 willow=柳皮 clove=丁香 sage=鼠尾 nettle=荨麻"),
    _relation("metal", "STEM", "金属", "iron=生铁 gold=黄金 silver=白银 copper=红铜 zinc=亚锌 tin=软锡 lead=重铅 nickel=灰镍"),
    _relation("planet", "STEM", "行星", "mercury=水星 venus=金星 mars=火星 jupiter=木星 saturn=土星 uranus=天王 neptune=海王 pluto=冥王"),
)  # fmt: skip

_FIRST = "Ba Be Bo Da De Do Fa Fe Fo Ga Ge Go Ka Ke Ko La Le Lo Ma Me Mo Na Ne No Pa Pe Po Ra Re Ro Sa Se So Ta Te To".split()
_LAST = "bor dan fir gon lim mar nos pel rik sun tor vex".split()
_FIRST_B = "巴贝博达德多法费福加格戈卡克科拉勒洛马梅莫纳内诺帕佩波拉雷罗萨塞索塔特托"
_LAST_B = "波丹菲贡利玛诺佩里孙托维"

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


def make_world(*, seed: int, entities: int = 60, told_in_b: float = 0.6, examined: float = 0.5) -> World:
    """A world of `entities` (at most 432); ``told_in_b`` and ``examined`` are exact shares, spread over all relations."""
    rng = np.random.default_rng([seed, 1])
    names = [(a + b, c + d) for a, c in zip(_FIRST, _FIRST_B, strict=True) for b, d in zip(_LAST, _LAST_B, strict=True)]
    unique = {pair[1]: pair for pair in names}  # two syllables share a character
    names = list(unique.values())
    chosen = [names[i] for i in rng.permutation(len(names))[:entities]]
    values = rng.integers(len(RELATIONS[0].values), size=(entities, len(RELATIONS)))
    groups = np.zeros(entities, dtype=bool)
    groups[rng.permutation(entities)[: round(examined * entities)]] = True
    in_b = np.zeros((entities, len(RELATIONS)), dtype=bool)
    for relation in range(len(RELATIONS)):  # the same share in each relation and on both sides
        for side in (True, False):
            own = rng.permutation(np.flatnonzero(groups == side))
            in_b[own[: round(told_in_b * len(own))], relation] = True
    facts = tuple(
        Fact(e, r, int(values[e, r]), bool(in_b[e, r])) for e in range(entities) for r in range(len(RELATIONS))
    )
    return World(tuple(chosen), facts, frozenset(np.flatnonzero(groups).tolist()), seed)
