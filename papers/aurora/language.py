"""Which language a text is in, by its letters: Chinese or not. A rule of the alphabet, trained on nothing.

Used to clean instruction rows and to judge the language of a reply, so that no detector learns from what it judges.

>>> round(cjk_share("她用 Python 写程序。"), 2)                # 5 of 11 letters
0.45
"""

from __future__ import annotations

import unicodedata


def is_cjk(letter: str) -> bool:
    """Whether a character is a CJK ideograph (Unicode names them so; kana and full-width signs are none)."""
    return unicodedata.name(letter, "").startswith("CJK UNIFIED IDEOGRAPH")


def cjk_share(text: str) -> float | None:
    """Share of CJK ideographs among the letters of `text`, 0 to 1; ``None`` when it has no letter (``3 + 4``).

    A Latin word of n letters weighs n times one ideograph, so a Chinese sentence with a long English name in it may
    fall under one half: take the threshold lower than that.
    """
    letters = [character for character in text if character.isalpha()]
    return sum(map(is_cjk, letters)) / len(letters) if letters else None
