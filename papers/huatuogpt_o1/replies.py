"""A reply that thinks, then answers: the text that SFT teaches, and the rule by which RL calls a reply malformed.

>>> sections(write_reply("Maybe flu. Wait, fever is absent.", "It is a cold."))
('Maybe flu. Wait, fever is absent.', 'It is a cold.')
>>> sections("It is a cold.") is None
True
"""

from __future__ import annotations

THINKING, FINAL = "## Thinking", "## Final Response\n\n"


def write_reply(thinking: str, response: str) -> str:
    """The SFT text of section 3.1 and App. E."""
    return f"{THINKING}\n\n{thinking}\n\n{FINAL}{response}"


def sections(reply: str) -> tuple[str, str] | None:
    """(thinking, final response) of a reply in the format, else ``None``.

    The rule of the released trainer: each header exactly once; what stands behind the last goes to the verifier.
    """
    if reply.count(THINKING) != 1 or reply.count(FINAL) != 1:
        return None
    before, after = reply.split(FINAL)
    if THINKING not in before:
        return None
    return before.split(THINKING)[1].strip(), after.strip()
