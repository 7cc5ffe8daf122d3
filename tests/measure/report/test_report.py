"""The summary and the page against sums done by hand and by slow, obvious loops over the records."""

import json
import random
from html.parser import HTMLParser
from pathlib import Path
from statistics import mean, median

import pytest

from foveate.errors import InputError
from foveate.measure.report.figures import over_time
from foveate.measure.report.page import page as rendered
from foveate.measure.report.page import write
from foveate.records.intervals import mean_difference, paired_difference
from foveate.records.summary import summarise

START = {
    "kind": "run", "model": "mini", "family": "llava_onevision", "layers": 8, "weights": "abc",
    "dtype": "float32", "device": "cpu", "gpu": None, "threads": 1,
    "tasks": [{"name": "ocr", "split": "test"}, {"name": "video", "split": "test"}],
    "conditions": {"cpu": "cpu", "python": "3", "torch": "2", "transformers": "5", "foveate": "0",
                   "commit": None},
}  # fmt: skip
ROLES = {
    "unreduced": "method",
    "good": "method",
    "same": "method",
    "resize-grid": "baseline",
    "new": "baseline",
}
COST = {"unreduced": 100, "good": 40, "same": 40, "resize-grid": 40, "new": 30}
BUDGET = {"unreduced": 1.0}
N = 60


def write_run(path, *, rounds: int = 3, extra: tuple[dict, ...] = ()) -> list[dict]:
    """A run whose methods are right on known questions: index modulo 6 decides."""
    draw = random.Random(0)
    right = {
        "unreduced": lambda i: i % 6 != 5,
        "good": lambda i: i % 6 not in (4, 5),
        "same": lambda i: i % 6 in (0, 1, 4),
        "resize-grid": lambda i: i % 6 < 3,
        "new": lambda i: i % 6 < 2,
    }
    rows = [START]
    rows += [
        {"kind": "setting", "method": name, "budget": BUDGET.get(name, 0.4), "role": role, "knobs": ""}
        for name, role in ROLES.items()
    ]  # fmt: skip
    for task in ("ocr", "video"):
        for name, is_right in right.items():
            cell = {"task": task, "method": name, "budget": BUDGET.get(name, 0.4)}
            rows += [
                {"kind": "answer", **cell, "index": i, "score": float(is_right(i)), "said": "",
                 "question_kind": "", "visual_tokens_in": 10, "visual_tokens_to_llm": COST[name] / 10,
                 "visual_tokens_mean": 1, "answer_tokens": 2, "llm_flops": COST[name] + i % 2,
                 "llm_flops_unreduced": 100 + i % 2, "kv_bytes": COST[name], "kv_bytes_unreduced": 100,
                 "flops": None if task == "video" else 200 + COST[name]}
                for i in range(N)
            ]  # fmt: skip
            for number in range(rounds):
                noise = draw.random()
                rows.append(
                    {"kind": "time", **cell, "round": number, "encode_ms": 5 + noise, "compress_ms": 1.0,
                     "score_ms": 0.5, "prefill_ms": COST[name] / 2 + noise, "decode_ms": 3.0}
                )  # fmt: skip
    rows += extra
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "run.jsonl"
    rows = write_run(path)
    return path, rows


def of(rows, kind, **wanted):
    return [
        row
        for row in rows
        if row["kind"] == kind and all(row.get(key) == value for key, value in wanted.items())
    ]


def test_rows_are_what_the_records_say(run):
    path, rows = run
    found = summarise(path)
    for task, settings in found.by_task.items():
        for row in settings:
            mine = of(rows, "answer", task=task, method=row.method)
            base = of(rows, "answer", task=task, method="unreduced")
            assert row.n == N
            assert row.accuracy == pytest.approx(mean(r["score"] for r in mine))
            expected = paired_difference([r["score"] for r in base], [r["score"] for r in mine])
            assert row.difference == expected
            whole = sum(r["llm_flops_unreduced"] for r in mine)
            assert row.llm_share == pytest.approx(sum(r["llm_flops"] for r in mine) / whole)
            assert row.kv_share == COST[row.method] / 100
            assert row.visual_tokens == pytest.approx(COST[row.method] / 10)
            assert row.flops_share == (
                None if task == "video" else pytest.approx((200 + COST[row.method]) / 300)
            )
            times = [
                [r["encode_ms"] + r["compress_ms"] + r["prefill_ms"]
                 for r in of(rows, "time", task=task, method=name)]
                for name in (row.method, "unreduced")
            ]  # fmt: skip
            assert row.first_token_ms == pytest.approx(median(times[0]))
            assert row.speedup == pytest.approx(median(b / m for m, b in zip(*times, strict=True)))
            better = [
                other for other in settings
                if (other.accuracy >= row.accuracy and other.llm_share < row.llm_share)
                or (other.accuracy > row.accuracy and other.llm_share <= row.llm_share)
            ]  # fmt: skip
            assert row.on_front == (not better)
            faster = [
                other for other in settings
                if (other.accuracy >= row.accuracy and other.speedup > row.speedup)
                or (other.accuracy > row.accuracy and other.speedup >= row.speedup)
            ]  # fmt: skip
            assert row.on_time_front == (not faster)


def test_the_mean_counts_tasks_alike(run):
    found = summarise(run[0])
    for place, row in enumerate(found.overall):
        parts = [rows[place] for rows in found.by_task.values()]
        assert {part.method for part in parts} == {row.method}
        for name in ("accuracy", "llm_share", "kv_share", "first_token_ms", "speedup"):
            assert getattr(row, name) == pytest.approx(mean(getattr(part, name) for part in parts))
        assert row.difference.mean == pytest.approx(mean(p.difference.mean for p in parts))
        assert row.flops_share is None  # one task does not tell
        # two tasks pin the mean down better than one
        assert row.difference.high - row.difference.low <= (
            parts[0].difference.high - parts[0].difference.low
        )
    assert {row.method for row in found.overall if row.on_front} == {"unreduced", "good", "new"}


def test_verdicts(run):
    found = {row.method: row for row in summarise(run[0]).overall}
    assert [c.baseline for c in found["good"].against] == ["resize-grid", "new"]
    assert [c.sentence for c in found["good"].against] == [
        "better than resampled features",
        "better than new",
    ]
    assert found["same"].against[0].sentence == "not distinguishable from resampled features"
    assert found["same"].against[0].difference.mean == 0
    assert found["new"].against[0].sentence == "worse than resampled features"
    assert found["new"].against[0].flops_ratio == pytest.approx(30.5 / 40.5)
    assert found["unreduced"].against == ()


def test_what_told_hard_from_easy_may_differ_by_budget(tmp_path):
    path = tmp_path / "run.jsonl"
    rows = write_run(path)
    more = [{**row, "budget": 0.2} for row in rows if row.get("method") in ("good", "resize-grid")]
    for row in more:
        if row["method"] == "resize-grid":
            row["method"] = "resize"
    write_run(path, extra=tuple(more))
    found = summarise(path)
    assert {(s.budget, s.by) for s in found.splits} == {(0.4, "resize-grid"), (0.2, "resize")}
    parser = Tables()
    parser.feed(write(found, tmp_path / "r.html")[0].read_text())
    hard = next(t for t in parser.tables if "hard right" in t[0])
    assert {tuple(row[:3]) for row in hard if row[0] == "good"} == {
        ("good", "0.4", "resize-grid"),
        ("good", "0.2", "resize"),
    }


def test_times_of_another_day_are_compared_as_ratios(tmp_path):
    path = tmp_path / "run.jsonl"
    rows = write_run(path)
    front = [r.method for r in summarise(path).overall if r.on_time_front]
    assert "good" in front
    # the twin of `good` is added on a machine ten times as slow, and is faster than it there
    slow = [
        {**row, "method": "twin" if row["method"] == "good" else "unreduced", "round": 7 + row["round"]}
        | {part: 10 * row[part] * (0.5 if row["method"] == "good" else 1)
           for part in ("encode_ms", "compress_ms", "prefill_ms")}
        for row in rows if row["kind"] == "time" and row["method"] in ("good", "unreduced")
    ]  # fmt: skip
    twin = [{**row, "method": "twin"} for row in rows if row.get("method") == "good"]
    twin = [row for row in twin if row["kind"] != "time"]
    write_run(path, extra=(*twin, *slow))
    found = {row.method: row for row in summarise(path).overall}
    assert found["twin"].first_token_ms > 4 * found["good"].first_token_ms
    assert found["twin"].speedup == pytest.approx(2 * found["good"].speedup)
    assert [name for name, row in found.items() if row.on_time_front] == ["unreduced", "twin"]
    mean_axes = over_time(summarise(path)).axes[0]
    drawn = {bars.get_label(): bars.lines[0].get_xdata()[0] for bars in mean_axes.containers}
    assert drawn == {name: pytest.approx(100 / row.speedup) for name, row in found.items()}


def test_split_by_resizing(run):
    found = {s.method: s for s in summarise(run[0]).splits if s.task == "all"}
    assert set(found) == {"good", "same", "new"}
    # modulo 6: unreduced is right on 0..4, resizing on 0..2; hard are 3 and 4, of 120 questions
    assert {(s.hard, s.easy, s.by) for s in found.values()} == {(40, 60, "resize-grid")}
    assert (found["good"].hard_accuracy, found["good"].easy_accuracy) == (0.5, 1)
    assert (found["same"].hard_accuracy, found["same"].easy_accuracy) == (0.5, pytest.approx(2 / 3))
    assert (found["new"].hard_accuracy, found["new"].easy_accuracy) == (0, pytest.approx(2 / 3))


class Tables(HTMLParser):
    """Rows of every table, as text."""

    def __init__(self):
        super().__init__()
        self.tables, self.inside = [], False

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.inside = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.tables[-1][-1][-1] += data


def test_the_page_shows_the_records(run, tmp_path):
    path, rows = run
    page, *pictures = write(summarise(path), tmp_path / "r.html")
    assert [picture.name for picture in pictures] == ["r-flops.png", "r-time.png", "r-hard.png"]
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    text = page.read_text()
    assert text.count("<svg") == 3
    for outside in ("http://", "https://", "<script", "<link", "src="):
        # names inside svg are no addresses to load
        assert outside not in text.replace("http://www.w3.org", "").replace("http://purl.org", "")
    parser = Tables()
    parser.feed(text)
    lists = [t for t in parser.tables if t[0][:4] == ["method", "share", "n", "accuracy"]]
    front, overall, *tasks = [[dict(zip(t[0], r, strict=True)) for r in t[1:]] for t in lists]
    assert [row["method"] for row in front] == ["new", "good", "unreduced"]
    assert len(overall) == 5
    for task, shown in zip(("ocr", "video"), tasks, strict=True):
        for row in shown:
            mine = of(rows, "answer", task=task, method=row["method"])
            assert row["accuracy"] == f"{mean(r['score'] for r in mine):.1%}"
            share = sum(r["llm_flops"] for r in mine) / sum(r["llm_flops_unreduced"] for r in mine)
            assert row["LLM FLOPs"] == f"{share:.1%}"
            assert row["KV"] == f"{COST[row['method']] / 100:.1%}"
            prefill = median(
                r["prefill_ms"] for r in of(rows, "time", task=task, method=row["method"])
            )
            assert row["prefill ms"] == f"{prefill:.1f}"
            assert (row["all FLOPs"] == "-") == (task == "video")
    verdict = next(t for t in parser.tables if t[0] == ["method", "share 0.4"])
    words = {method: said.split("+")[0].split("-")[0] for method, said in verdict[1:]}
    assert words == {"good": "better", "same": "not distinguishable"}
    assert (
        "of 2 settings, 1 better than resampled features, 1 not distinguishable from resampled features"
        in text
    )
    hard = next(t for t in parser.tables if "hard right" in t[0])
    assert ["good", "0.4", "resize-grid", "40", "50.0%", "60", "100.0%"] in hard


def test_all_conditions_of_a_run_are_shown(tmp_path):
    path = tmp_path / "run.jsonl"
    again = {**START, "threads": 4, "tasks": START["tasks"][:1]}
    newer = {**START, "conditions": {**START["conditions"], "torch": "2.9"}}
    write_run(path, extra=(again, newer, START))
    found = summarise(path)
    told = found.to_dict()
    assert [(c["threads"], c["torch"]) for c in told["conditions"]] == [
        (1, "2"),
        (4, "2"),
        (1, "2.9"),
    ]
    assert told["run"]["tasks"] == START["tasks"]
    parser = Tables()
    parser.feed(write(found, tmp_path / "r.html")[0].read_text())
    ran = [value for what, value in parser.tables[-1] if what == "ran on"]
    assert [value.split(";")[0] for value in ran] == [
        "cpu, 1 threads",
        "cpu, 4 threads",
        "cpu, 1 threads",
    ]
    assert "torch 2.9" in ran[2]


def test_without_stopwatch_baselines_or_an_end(tmp_path):
    path = tmp_path / "run.jsonl"
    rows = write_run(path, rounds=0)
    kept = [
        row for row in rows
        if row.get("method") not in ("resize-grid", "new")
        and not (row["kind"] == "answer" and row["method"] == "good" and row["index"] > 9)
    ]  # fmt: skip
    kept.append(
        {"kind": "refused", "task": "ocr", "method": "bad", "budget": 0.4, "why": "no <CLS>"}
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in kept) + '{"kind": "ans')
    found = summarise(path)
    good = next(row for row in found.by_task["ocr"] if row.method == "good")
    assert (good.n, good.first_token_ms, good.speedup, good.on_time_front) == (10, None, None, None)
    assert good.difference.mean == pytest.approx(-0.1)  # question 4 of 0..9; 5 is wrong unreduced
    text = write(found, tmp_path / "r.html")[0].read_text()
    for said in (
        "No plain baseline",
        "No stopwatch ran",
        "no resizing",
        "bad at 0.4: no &lt;CLS&gt;",
    ):
        assert said in text
    assert json.loads(json.dumps(found.to_dict()))["refused"][0]["method"] == "bad"


EVIL = "<script>alert('x')</script>$&"


def test_what_records_say_is_no_markup(tmp_path):
    path = tmp_path / "run.jsonl"
    rows = write_run(path)
    names = {"model": EVIL, "task": f"ocr{EVIL}", "good": f"good{EVIL}", "new": f"new{EVIL}"}
    start = {**START, "model": EVIL, "weights": EVIL, "dtype": EVIL,
             "tasks": [{"name": names["task"], "split": EVIL}],
             "conditions": {**START["conditions"], "cpu": EVIL}}  # fmt: skip
    refused = {"kind": "refused", "method": "good", "budget": 0.2, "why": EVIL}
    rows = [*rows, {**refused, "task": "ocr"}, {**refused, "task": "video", "index": 3}, start]
    for row in rows:
        for field in ("method", "task"):
            row |= {field: names.get(row[field], row[field])} if field in row else {}
        row |= {"task": names["task"]} if row.get("task") == "ocr" else {}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = write(summarise(path), tmp_path / "r.html")[0].read_text()
    tags = Tags()
    tags.feed(text)
    assert "script" not in tags.seen
    assert "<script" not in text
    assert tags.said.count(EVIL) > 5
    for name in names.values():
        assert name in tags.said
    for name in (names["good"], names["new"]):
        assert name in tags.pictured


class Tags(HTMLParser):
    """Names of the tags, and text outside and inside of pictures."""

    def __init__(self):
        super().__init__()
        self.seen, self.said, self.pictured, self.depth = set(), "", "", 0

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.depth += tag == "svg"

    def handle_endtag(self, tag):
        self.depth -= tag == "svg"

    def handle_data(self, data):
        if self.depth:
            self.pictured += data
        else:
            self.said += data


def test_a_summary_draws_the_page_of_its_records(run, tmp_path):
    path, _ = run
    write_run(path, extra=({"kind": "refused", "task": "ocr", "method": "bad", "budget": 0.4, "why": "no",
                            "index": 4},))  # fmt: skip
    found = summarise(path)
    told = tmp_path / "told.json"
    for indent in (None, 1):
        told.write_text(json.dumps(found.to_dict(), indent=indent))
        assert summarise(told) == found
    # an older one does not list its baselines: they are those it was compared with
    old = {name: value for name, value in found.to_dict().items() if name != "baselines"}
    told.write_text(json.dumps(old))
    assert list(summarise(told).baselines.items()) == list(found.baselines.items())
    pictures = dict.fromkeys(("flops", "time", "hard"))
    assert rendered(summarise(told), pictures) == rendered(found, pictures)
    told.write_text(json.dumps({"rows": [{"task": "ocr"}]}))
    with pytest.raises(InputError, match="is not a summary as `foveate report --json` prints it"):
        summarise(told)


def test_the_page_of_the_zoo_is_drawn_from_its_record(tmp_path):
    record = Path(__file__).parents[3] / "results" / "zoo.json"
    rows = json.loads(record.read_text())["rows"]
    page, *pictures = write(summarise(record), tmp_path / "zoo.html")
    assert [picture.name for picture in pictures] == [
        "zoo-flops.png",
        "zoo-time.png",
        "zoo-hard.png",
    ]
    parser = Tables()
    parser.feed(page.read_text())
    lists = [t for t in parser.tables if t[0][:4] == ["method", "share", "n", "accuracy"]]
    shown = [tuple(row[:4]) for table in lists[1:] for row in table[1:]]
    assert shown == [
        (row["method"], f"{row['budget']:g}", f"{row['n']:,}", f"{row['accuracy']:.1%}")
        for row in rows
    ]


def test_bad_files(tmp_path):
    with pytest.raises(InputError, match="no such file of records"):
        summarise(tmp_path / "nope.jsonl")
    path = tmp_path / "other.jsonl"
    path.write_text('{"a": 1}\n')
    with pytest.raises(InputError, match="is not a file of `foveate measure`"):
        summarise(path)
    path.write_text(json.dumps(START) + "\n")
    with pytest.raises(InputError, match="no answers of the unreduced model"):
        summarise(path)
    write_run(path)
    with pytest.raises(InputError, match=r"--out must be an \.html file"):
        write(summarise(path), tmp_path / "r.pdf")


def test_mean_difference_by_hand():
    one, two = ([1, 1, 0, 0] * 20, [1, 0, 0, 0] * 20), ([0] * 10, [1] * 10)
    found = mean_difference([one, two])
    assert found.mean == pytest.approx((-0.25 + 1) / 2)
    alone = paired_difference(*one)
    # the second task has no spread, so the mean has half of the first one's
    assert found.high - found.low == pytest.approx((alone.high - alone.low) / 2, rel=0.15)
    with pytest.raises(InputError, match="at least 1 task"):
        mean_difference([])
