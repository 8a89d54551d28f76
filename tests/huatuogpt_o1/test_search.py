"""The search: Algorithm 1 against scripted replies, work records that survive faults, and the scripted teacher."""

import json
import threading

import pytest
from chat_server import completion, server

from lib.data.files import DataError, read_json
from papers.huatuogpt_o1 import prompts
from papers.huatuogpt_o1.actions import CHECK, CONCLUDE, THINK, read_actions
from papers.huatuogpt_o1.endpoint import Endpoint, EndpointError, Remembered
from papers.huatuogpt_o1.records import QUESTION, SFT, TRUTH, read_records
from papers.huatuogpt_o1.search import STRATEGIES, Limits, is_label_guided, rewrite, search
from papers.huatuogpt_o1.search_study import by_strategy, depths, problem, solved, sound_cases
from papers.huatuogpt_o1.searching import SearchError, read_record, search_all, write_sft
from papers.huatuogpt_o1.teacher import Teacher
from papers.huatuogpt_o1.verifiers import AliasTable, ExactMatch
from papers.huatuogpt_o1.world import Sizes, draw_world

WORLD = draw_world(Sizes(diseases=12, findings=8, each=4, shared=3, values=6), seed=1)
ROWS = [problem(WORLD, case) for case in sound_cases(WORLD, seed=1)[:20]]
ROW = {QUESTION: "Which?", TRUTH: "flu"}


def reply(answer, *, refining=False):
    said = [{"action": CHECK, "content": "no"}] if refining else []
    said += [{"action": THINK, "title": "t", "content": "hm"}, {"action": CONCLUDE, "content": answer}]
    return json.dumps({"CoT": [*said, {"action": CHECK, "content": "ok"}]})


class Says:
    """Replies in turn, the last for ever; keeps what it was asked."""

    name = "says"

    def __init__(self, *replies):
        self.replies, self.asked = list(replies), []

    def ask(self, prompt, *, sample=0):
        self.asked.append((prompt, sample))
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


def _search(chat, **limits):
    return search(ROW, process_id=0, chat=chat, verifier=ExactMatch(), limits=Limits(**limits), seed=0)


# ---------------------------------------------------------------------- Algorithm 1
def test_a_right_first_answer_is_not_refined():
    chat = Says(reply("flu"))
    found = _search(chat)
    assert (
        found["solved"]
        and found["verify"] == [True]
        and found["response_type"] == ["Init_CoT"]
        and len(chat.asked) == 1
    )


def test_refinements_are_appended_and_stop_at_the_first_right_one():
    found = _search(Says(reply("cold"), reply("cough", refining=True), reply("flu", refining=True)))
    assert found["verify"] == [False, False, True] and [len(one) for one in found["response_struct"]] == [3, 4, 4]
    assert [one["action"] for one in found["Long_CoT"]] == [
        THINK,
        CONCLUDE,
        CHECK,
        THINK,
        CONCLUDE,
        CHECK,
        THINK,
        CONCLUDE,
        CHECK,
    ]
    assert all(kind.startswith("Re_CoT_") for kind in found["response_type"][1:])


def test_a_refinement_is_shown_everything_but_the_last_verification():
    chat = Says(reply("cold"), reply("flu", refining=True))
    _search(chat)
    earlier = chat.asked[1][0].split("Reasoning so far: ")[1].split("\n")[0]
    assert [one["action"] for one in json.loads(earlier)] == [THINK, CONCLUDE]


def test_depth_and_attempts_bound_the_search_and_the_item_is_discarded():
    chat = Says(reply("cold"), *[reply("cold", refining=True)] * 2, reply("cold"), reply("cold", refining=True))
    found = _search(chat, refinements=2, attempts=2, tries=1)
    assert not found["solved"] and len(chat.asked) == 6 and len(found["prior_fail_try"]) == 1
    assert found["verify"] == [False] * 3 and found["prior_fail_try"][0]["verify"] == [False] * 3
    assert rewrite(found, chat=chat) is None


def test_backtracking_is_not_drawn_at_the_first_refinement():
    chat = Says(reply("cold"), reply("cold", refining=True))
    kinds = [
        search(ROW, process_id=n, chat=chat, verifier=ExactMatch(), limits=Limits(attempts=1), seed=0)["response_type"]
        for n in range(60)
        if not setattr(chat, "replies", [reply("cold"), reply("cold", refining=True)])
    ]
    assert {kind[1] for kind in kinds} == {f"Re_CoT_{one}" for one in STRATEGIES if one != "Backtracking"}
    assert "Re_CoT_Backtracking" in {kind[2] for kind in kinds}


def test_a_restart_samples_again_or_keeps_the_first_answer():
    def run(keep):
        chat = Says(reply("cold"), reply("cold", refining=True), reply("cold"), reply("flu", refining=True))
        if keep:
            chat.replies.pop(2)
        found = _search(chat, refinements=1, attempts=2, keep_first=keep)
        return found, [asked for asked in chat.asked if asked[0].startswith("Question: Which?\n\nThink")]

    again, kept = run(False), run(True)
    assert again[0]["solved"] and [sample for _, sample in again[1]] == [0, 1]
    assert kept[0]["solved"] and len(kept[1]) == 1


def test_label_guided_rows_are_off_by_default_flagged_and_unchecked():
    told = (reply("cold"), reply("cold", refining=True), reply("anything", refining=True))
    assert not _search(Says(*told), refinements=1, attempts=1)["solved"]
    found = _search(Says(*told), refinements=1, attempts=1, label_guided=True)
    assert is_label_guided(found) and found["solved"] and found["response_type"][-1] == "Label_CoT"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"strategies": ("Verify",)}, "no strategy 'Verify'; choose from Exploring New Paths"),
        ({"attempts": 0}, "attempts >= 1"),
        ({"refinements": -1}, "refinements >= 0"),
        ({"strategies": ("Backtracking",)}, "cannot backtrack"),
    ],
)
def test_limits_that_make_no_search(limits, said):
    with pytest.raises(ValueError, match=said):
        Limits(**limits)


# ---------------------------------------------------------------------- the format of actions
GOOD = json.loads(reply("flu"))["CoT"]


@pytest.mark.parametrize(
    "bad",
    [
        "", "[]", "{}", '{"CoT": {}}', '{"CoT": []}', reply("flu")[:-1], '{"CoT": [1]}', "[" * 100_000,
        json.dumps({"CoT": GOOD[:2]}),
        json.dumps({"CoT": [GOOD[1], GOOD[0], GOOD[2]]}),
        json.dumps({"CoT": [{**GOOD[0], "action": "Thinking"}, *GOOD[1:]]}),
        json.dumps({"CoT": [{"action": THINK, "content": "no title"}, *GOOD[1:]]}),
        json.dumps({"CoT": [GOOD[0], {**GOOD[1], "content": ""}, GOOD[2]]}),
        json.dumps({"CoT": [GOOD[0], {**GOOD[1], "content": 7}, GOOD[2]]}),
        json.dumps({"CoT": [GOOD[0], {**GOOD[1], "title": "x"}, GOOD[2]]}),
    ],
)  # fmt: skip
def test_a_malformed_reply_is_refused(bad):
    assert read_actions(bad) is None


def test_a_refinement_begins_with_a_verification():
    assert read_actions(reply("flu")) and read_actions(reply("flu"), refining=True) is None
    assert read_actions(f"```json\n{reply('flu')}\n```") == GOOD


def test_a_malformed_reply_is_asked_for_again_with_another_sample():
    chat = Says("broken", reply("flu"))
    found = _search(chat, tries=2)
    assert found["solved"] and found["malformed"] == 1 and [sample for _, sample in chat.asked] == [0, 1]
    never = _search(Says("broken"), tries=2, attempts=2)
    assert not never["solved"] and never["malformed"] == 4 and never["Long_CoT"] == []


# ---------------------------------------------------------------------- the teacher
def _all(**more):
    given = {"chat": Teacher(WORLD, seed=0), "verifier": AliasTable(WORLD.aliases()), "limits": Limits(), "seed": 0}
    return [search(row, process_id=n, **{**given, **more}) for n, row in enumerate(ROWS)]


def test_the_teacher_gives_the_same_words_to_the_same_prompt_and_solves_most():
    one, two = _all(), _all()
    assert one == two and solved(one) > 0.8
    assert sum(depths(one).values()) == pytest.approx(1) and depths(one).keys() >= {"first answer", "refined 1"}
    assert all(right <= tried for right, tried in by_strategy(one).values())
    assert solved(_all(limits=Limits(refinements=0, attempts=1))) < solved(one)


def test_a_monologue_goes_to_the_first_absent_finding_and_ends_at_the_last_thought():
    teacher = Teacher(WORLD, seed=0, broken=0)
    for row, record in zip(ROWS, _all(chat=teacher), strict=True):
        if not record["solved"]:
            continue
        written = rewrite(record, chat=teacher)
        *lines, last = written["Complex_CoT"].split("\n")
        assert last == "So." and lines[0].startswith("Maybe ") and all(x.startswith("Wait, maybe ") for x in lines[1:])
        by_name = {one.name: one for one in WORLD.diseases}
        for thought, checked in (line.rstrip(".").split(": ") for line in lines):
            for part in checked.split(", "):
                finding, said = part.split()
                assert (finding in by_name[thought.split()[-1]].findings) == (said == "yes")
        assert AliasTable(WORLD.aliases()).verify([written["Response"]], [row[TRUTH]])[0]


def test_the_teacher_knows_no_other_question():
    with pytest.raises(ValueError, match="questions of its world"):
        Teacher(WORLD, seed=0).ask(prompts.INITIAL.format(question="What is flu?", actions=""))


# ---------------------------------------------------------------------- work records on disk
def _on_disk(folder, chat, workers=3, **more):
    given = {"verifier": AliasTable(WORLD.aliases()), "limits": Limits(), "seed": 0}
    return search_all(folder, ROWS, chat=chat, workers=workers, **{**given, **more})


class Counting:
    """A teacher that counts, and fails while ``down`` says so."""

    def __init__(self, down=lambda count: False):
        self.teacher, self.count, self.down, self.lock = Teacher(WORLD, seed=0), 0, down, threading.Lock()
        self.name = self.teacher.name

    def ask(self, prompt, *, sample=0):
        with self.lock:
            self.count += 1
            if self.down(self.count):
                raise EndpointError("http://x gave no answer in 5 tries (HTTP 500); check that the server runs")
        return self.teacher.ask(prompt, sample=sample)


def test_parallel_searches_give_the_records_of_one_after_the_other(tmp_path):
    found = _on_disk(tmp_path, Teacher(WORLD, seed=0), workers=5)
    assert found == _all() and [one["process_id"] for one in found] == list(range(len(ROWS)))
    assert read_record(tmp_path / "items" / "3.json", ROWS[3]) == found[3]


def test_an_endpoint_that_goes_down_keeps_what_is_finished(tmp_path):
    with pytest.raises(SearchError, match=r"problems were not searched \(http://x gave no answer.*run again") as caught:
        _on_disk(tmp_path, Counting(lambda count: count > 20))
    assert "\n" not in str(caught.value)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "items").glob("*.json")}
    assert 0 < len(kept) < len(ROWS)
    chat = Counting()
    assert _on_disk(tmp_path, chat) == _all()
    assert {name: (tmp_path / "items" / name).stat().st_mtime_ns for name in kept} == kept  # not searched again
    before = chat.count
    assert _on_disk(tmp_path, chat) == _all() and chat.count == before


def test_a_few_failures_between_answers_do_not_stop_the_others(tmp_path):
    with pytest.raises(SearchError, match=r"^2 of 20 problems"):
        _on_disk(tmp_path, Counting(lambda count: count in (3, 20)), workers=1)
    assert len(list((tmp_path / "items").glob("*.json"))) == 18


@pytest.mark.parametrize("damage", ["", "{", '{"process_id": 3}', "[]", None])
def test_a_damaged_record_is_put_aside_and_searched_again(tmp_path, damage):
    good = _on_disk(tmp_path, Teacher(WORLD, seed=0))
    path = tmp_path / "items" / "3.json"
    path.write_text(json.dumps({**good[4]}) if damage is None else damage)  # None: the record of another problem
    assert _on_disk(tmp_path, Teacher(WORLD, seed=0)) == good
    assert path.with_suffix(".damaged").exists() and read_json(path)["process_id"] == 3


def test_another_search_in_the_same_folder_is_refused(tmp_path):
    _on_disk(tmp_path, Teacher(WORLD, seed=0))
    with pytest.raises(SearchError, match="another limits; use another folder"):
        _on_disk(tmp_path, Teacher(WORLD, seed=0), limits=Limits(refinements=1))
    with pytest.raises(SearchError, match="another chat"):
        _on_disk(tmp_path, Teacher(WORLD, seed=1))


def test_no_more_searches_at_a_time_than_workers(tmp_path):
    most, now, lock = [0], [0], threading.Lock()
    teacher = Teacher(WORLD, seed=0)

    class Slow:
        name = teacher.name

        def ask(self, prompt, *, sample=0):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            threading.Event().wait(0.005)
            with lock:
                now[0] -= 1
            return teacher.ask(prompt, sample=sample)

    _on_disk(tmp_path, Slow(), workers=3)
    assert most[0] == 3


def test_a_malformed_problem_is_named_before_anything_is_asked(tmp_path):
    chat = Says(reply("flu"))
    for bad in ({QUESTION: "Which?"}, {QUESTION: "", TRUTH: "flu"}, {QUESTION: "Which?", TRUTH: 3}):
        with pytest.raises(DataError, match=r"^problem 2"):
            search_all(tmp_path, [ROW, bad], chat=chat, verifier=ExactMatch(), limits=Limits(), seed=0)
    assert chat.asked == [] and not (tmp_path / "items").exists()


def test_the_sft_file_has_the_released_keys_and_leaves_label_guided_rows_out(tmp_path):
    teacher = Teacher(WORLD, seed=0, broken=0)
    records = _all(chat=teacher, limits=Limits(refinements=1, attempts=1, label_guided=True))
    guided = sum(map(is_label_guided, records))
    counts = write_sft(tmp_path / "sft.json", records, chat=teacher)
    assert guided and counts["label-guided"] == guided and counts["written"] == len(ROWS) - guided
    assert [set(row) for row in read_records(tmp_path / "sft.json", SFT)] == [set(SFT)] * counts["written"]
    assert write_sft(tmp_path / "all.json", records, chat=teacher, label_guided=True)["written"] == len(ROWS)
    with pytest.raises(DataError, match="no row is left"):
        write_sft(tmp_path / "none.json", [{**records[0], "solved": False}], chat=teacher)


# ---------------------------------------------------------------------- the endpoint
def _endpoint(url, **more):
    return Endpoint(url, **{"model": "m", "backoff": 0.0, "timeout": 2.0, "attempts": 3, **more})


def test_a_server_that_fails_then_answers():
    script = [(500, "no"), (429, "wait", ("Retry-After", "0")), completion("yes")]
    with server(*script) as (url, received):
        assert _endpoint(url).ask("Why?", sample=4) == "yes"
    assert len(received) == 3 and received[0]["body"]["seed"] == 4 and received[0]["path"] == "/v1/chat/completions"


@pytest.mark.parametrize(
    "body", ["not json", "{}", '{"choices": []}', '{"choices": [{"message": {"content": 3}}]}', "[1]"]
)
def test_a_server_that_talks_broken_json_is_asked_again_and_then_given_up(body):
    with (
        server((200, body)) as (url, received),
        pytest.raises(EndpointError, match=r"in 3 tries .a body that is no chat completion.; check that the server"),
    ):
        _endpoint(url).ask("Why?")
    assert len(received) == 3
    with server((200, body), completion("yes")) as (url, _):
        assert _endpoint(url).ask("Why?") == "yes"


def test_a_server_that_stalls_or_is_not_there():
    with server(completion("late"), delay=0.5) as (url, _), pytest.raises(EndpointError, match=r"silent for 0\.1 s"):
        _endpoint(url, timeout=0.1, attempts=2).ask("Why?")
    with pytest.raises(EndpointError, match="no connection"):
        _endpoint(url, attempts=2).ask("Why?")  # the stub is gone


def test_a_refusal_is_not_repeated(monkeypatch):
    monkeypatch.setenv("REPRISE_CHAT_KEY", "secret")
    with (
        server((401, "secret")) as (url, received),
        pytest.raises(EndpointError, match="refused with HTTP 401") as caught,
    ):
        _endpoint(url).ask("Why?")
    assert len(received) == 1 and "secret" not in str(caught.value)
    assert received[0]["headers"]["Authorization"] == "Bearer secret"


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "http://", "http://user:password@x/v1"])
def test_an_address_that_is_none(url):
    with pytest.raises(ValueError, match="no server address") as caught:
        Endpoint(url, model="m")
    assert "password" not in str(caught.value)


def test_answers_are_remembered_and_a_damaged_one_is_asked_for_again(tmp_path):
    chat = Says("one", "two", "three", "four")
    kept = Remembered(chat, tmp_path)
    assert [kept.ask("Why?"), kept.ask("Why?"), kept.ask("Why?", sample=1)] == ["one", "one", "two"]
    assert Remembered(chat, tmp_path).ask("Why?") == "one" and len(chat.asked) == 2
    for path in tmp_path.rglob("*.json"):
        path.write_text(path.read_text()[:-5])
    assert kept.ask("Why?") == "three" and kept.ask("Why?") == "three"


def test_a_search_over_a_stub_server_that_fails_stalls_and_breaks_json(tmp_path):
    good, again = reply("flu"), reply("flu", refining=True)
    script = [(503, "busy"), completion('{"CoT": ['), (200, "no json"), completion(good), completion(again)]
    with server(*script) as (url, received):
        chat = Remembered(_endpoint(url), tmp_path / "answers")
        found = search_all(tmp_path, [ROW], chat=chat, verifier=ExactMatch(), limits=Limits(), seed=0, workers=2)
    assert found[0]["solved"] and found[0]["malformed"] == 1 and len(received) == 4
    gone = Remembered(_endpoint(url, attempts=1), tmp_path / "answers")
    assert search_all(tmp_path, [ROW], chat=gone, verifier=ExactMatch(), limits=Limits(), seed=0) == found
