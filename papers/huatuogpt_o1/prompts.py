"""What the language model of each step is asked, in our words: the release's texts carry no licence. Keys, actions, verdict words
and what each strategy is told are the paper's (App. B to E), because code and files depend on them.
"""

from __future__ import annotations

FILTER = """Below is a multiple-choice question with its options and the right answer. Shall it be kept as an open problem?
- It must need reasoning, not recall alone; otherwise answer: Too Simple
- Exactly one answer must be right; otherwise answer: Ambiguous Answer
- It must make sense without its options; otherwise answer: Not Reformulatable
If all holds answer: Pass

Question: {question}
{options}
Right answer: {answer}

Answer with one of the four verdicts."""

REFORMAT = """Rewrite the multiple-choice question as an open one that needs no options, and give the right answer in a few words.

Question: {question}
{options}
Right answer: {answer}

Reply with JSON alone: {{"Open-ended Verifiable Question": "...", "Standard Answer": "..."}}"""

VERIFY = """Does the response give the same answer as the reference?

Response: {response}
Reference answer: {reference}

Reply True or False."""

CHOOSE = """{question}
{options}
Reply with the letter of the right option."""
