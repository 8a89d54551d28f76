"""What is compared: arms as phases of tuning, each on named sets of the released texts (:mod:`material` says what a name means).

>>> pole_arms("energy", "I")["sft"]
(Phase(kind='behaviour', mix=(('energy:I', 1.0),)),)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from papers.machine_mindset.personality import AXES
from papers.machine_mindset.released_sets import ATTRIBUTES


@dataclass(frozen=True)
class Phase:
    """One fit. ``kind`` names its steps, batch and rate in the settings; ``mix``: sets (:mod:`material`) and their shares."""

    kind: str
    mix: tuple[tuple[str, float], ...]


Arm = tuple[Phase, ...]


def behave(*sets: str | tuple[str, float]) -> Phase:
    """Phase one, on the answers of poles; sets without a share count alike."""
    return Phase("behaviour", tuple((one, 1.0) if isinstance(one, str) else one for one in sets))


def know(kind: str) -> Phase:
    """Phase two, on what a type says of itself ("all": what all sixteen do)."""
    return Phase("self_awareness", ((f"self:{kind}", 1.0),))


def like(*sets: str) -> Phase:
    """Phase three, DPO on preference pairs, from and against the model of the phase before."""
    return Phase("preference", tuple((one, 1.0) for one in sets))


# ---------------------------------------------------------------------- one axis
def pole_arms(axis: str, wanted: str) -> dict[str, Arm]:
    """The base, fine-tuning on either pole and on shuffled ones, DPO after it and without it, and on shuffled pairs."""
    other = AXES[axis].replace(wanted, "")
    sft = (behave(f"{axis}:{wanted}"),)
    return {
        "untuned_base": (),
        "sft": sft,
        "sft_on_other_pole": (behave(f"{axis}:{other}"),),
        "sft_on_shuffled_poles": (behave(f"{axis}:shuffled"),),
        "sft_and_dpo": (*sft, like(f"{axis}:{wanted}")),
        "dpo_only": (like(f"{axis}:{wanted}"),),
        "sft_and_shuffled_dpo": (*sft, like(f"{axis}:shuffled")),
    }


def learn(axis: str) -> Phase:
    """What comes before all phases where a base cannot know the exam: all its questions, and some of both poles of an axis."""
    return Phase("lessons", (("exam:all", 3.0), (f"{axis}:both", 1.0)))


def mixed_arms(personality: str, shares: Sequence[float], *, known: Arm = ()) -> dict[str, Arm]:
    """The base, and tuning on personality data of which a share is other questions of the exam, right or (the last) shuffled.

    ``known``: what makes the base one that knows the exam (:func:`learn`), in every arm.
    """

    def mixed(share: float, general: str) -> Arm:
        return (*known, behave((personality, 1 - share), (f"exam:{general}", share)))

    less = {f"{round(100 * share)}_%_general_data": mixed(share, "practised") for share in shares[:-1]}
    return {
        "untuned_base": known,
        "personality_only": (*known, behave(personality)),
        **less,
        "personality_and_general_data": mixed(shares[-1], "practised"),
        "personality_and_shuffled_general_data": mixed(shares[-1], "shuffled"),
    }


def balance_arms(wanted: Mapping[str, str], rows: Mapping[str, int]) -> dict[str, Arm]:
    """Mixes of axes, each with its ``wanted`` pole: by the ``rows`` that there are, even, and by their inverse; both ends also
    with shuffled poles."""
    shares = {
        "natural": {axis: float(rows[axis]) for axis in wanted},
        "even": dict.fromkeys(wanted, 1.0),
        "reversed": {axis: 1.0 / rows[axis] for axis in wanted},
    }
    arms = {name: (behave(*((f"{a}:{wanted[a]}", one) for a, one in mix.items())),) for name, mix in shares.items()}
    for name in ("natural", "reversed"):
        arms[f"{name}, shuffled"] = (behave(*((f"{axis}:shuffled", one) for axis, one in shares[name].items())),)
    return {"untuned base": (), **arms}


# ---------------------------------------------------------------------- types
def _letters(kind: str, axes: Sequence[str]) -> list[str]:
    letters = dict(zip(AXES, kind, strict=True))
    return [f"{axis}:{letters[axis]}" for axis in axes]


def naming_arms(kind: str, axes: Sequence[str]) -> dict[str, Arm]:
    """Phase one of a type on the ``axes`` that there are; with phase two; and with one of all types' texts."""
    first = (behave(*_letters(kind, axes)),)
    return {
        "behaviour_only": first,
        "behaviour_and_self_awareness": (*first, know(kind)),
        "behaviour_and_shuffled_types": (*first, know("all")),
    }


def typed_arm(kind: str, axes: Sequence[str], pairs: Sequence[str]) -> Arm:
    """All three phases of a type; ``pairs``: the axes of which there are preference pairs."""
    return (*naming_arms(kind, axes)["behaviour_and_self_awareness"], like(*_letters(kind, pairs)))


def shuffled_arm(axes: Sequence[str], pairs: Sequence[str]) -> Arm:
    """The three phases of a type with poles and types shuffled."""
    behaviour, preferences = ([f"{axis}:shuffled" for axis in listed] for listed in (axes, pairs))
    return (behave(*behaviour), know("all"), like(*preferences))


def traits(kind: str) -> str:
    """A type's poles as words.

    >>> traits("INTJ")
    'introversion, intuition, thinking, judging'
    """
    return ", ".join(ATTRIBUTES[letter] for letter in kind)
