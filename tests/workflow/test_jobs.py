"""In which order notebooks start."""

from lib.workflow import jobs


def test_the_longest_notebook_of_each_paper_starts_before_all_others():
    made = [("a", 3), ("a", 5), ("b", 1), ("b", 2), ("a", 4)]
    chosen = [jobs.Job(slug, f"tab{number}", "mini", minutes) for number, (slug, minutes) in enumerate(made)]
    priorities = jobs._priorities(chosen)
    assert sorted(range(len(made)), key=lambda number: -priorities[number]) == [1, 3, 4, 0, 2]
