"""One question of the open-book exam, what is supplied for it, and plain words around both."""

from papers.long_context import cmb

WORDING = {
    "open": "{knowledge}\n{question}",
    "closed": "{question}",
    "listed": "{options}\n{question}",
    "option": "{text} {letter}",
}
ITEM = cmb.Item(
    id="1", exam_type="医师考试", exam_class="", exam_subject="", question="gout", question_type=cmb.SINGLE,
    options={"A": "Basil", "B": "Mint"}, answer="B",
)  # fmt: skip
SUPPLIED = cmb.Knowledge("1", "gout Mint", tuple(f"d{i} Basil" for i in range(5)))
