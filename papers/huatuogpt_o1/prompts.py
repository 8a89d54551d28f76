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

ACTIONS = """Think step by step in actions: "Inner Thinking" (title and content, as many as needed), then "Final Conclusion"
(content), then "Verification" (content: does the conclusion hold?). Reply with JSON alone:
{"CoT": [{"action": "Inner Thinking", "title": "...", "content": "..."}, {"action": "Final Conclusion", "content": "..."},
{"action": "Verification", "content": "..."}]}"""

INITIAL = """Question: {question}

{actions}"""

REFINE = """Question: {question}

Reasoning so far: {earlier}

The final conclusion above was reviewed and is false. Begin with a "Verification" that agrees with this, and continue the reasoning.
Strategy: {strategy}

{actions}"""

LABEL = """Question: {question}

Reasoning so far: {earlier}

The right answer is: {truth}. Do not show that you were told. Begin with a "Verification" and continue to this answer.

{actions}"""

NATURAL = """Question: {question}

Reasoning: {trajectory}

Rewrite the reasoning as a natural inner monologue, one thought a line, without titles. Reply with JSON alone:
{{"NaturalReasoning": "..."}}"""

RESPOND = """Question: {question}

Inner monologue: {reasoning}

Write the final answer to the user."""

STRATEGIES = {
    "Exploring New Paths": "try a new approach that differs from the earlier ones.",
    "Verification": "check the reasoning thoroughly, then draw a new conclusion.",
    "Correction": "find the flaws and correct them precisely.",
    "Backtracking": "go back to an earlier point of the reasoning and go on from there.",
}
