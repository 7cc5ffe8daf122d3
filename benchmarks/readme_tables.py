"""The tables of README and docs, written from the records in results/, the families and the methods.

    python benchmarks/readme_tables.py          # rewrite them in the pages

A table stands between `<!-- NAME -->` and `<!-- end NAME -->`; a test fails when the two disagree.
"""

import json
from typing import Any

from encoder_tables import adapted, encoder, order, reuse, rivals, still_clip, zoo_2026
from episode_tables import episodes, episodes_order, episodes_pairs
from front_tables import end_to_end, in_short
from serving_tables import held, load
from study_tables import TABLES as STUDY
from tables import ROOT, condition, markdown, put, seeds, where
from zoo_tables import TABLES as ZOO

from foveate.models.scope import OUT_OF_SCOPE
from foveate.models.support import support, watching
from foveate.registry import methods as known_methods
from foveate.runtime.seams import TESTED

CONCEPTS = ROOT / "docs" / "concepts"
PAGES = (
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("results", "methods", "families", "study")),
    *(ROOT / "docs" / "guides" / f"{name}.md" for name in ("training", "conversations", "serving")),
    *(CONCEPTS / f"{name}.md" for name in ("compressors", "fovea", "first-token")),
)


def speed() -> str:
    """LLM prefill at 0.5B shapes."""
    record = json.loads((ROOT / "results" / "speed.json").read_text())
    rows = [
        [
            str(row["frames"]),
            row["method"],
            str(row["runs"]),
            f"{row['visual_tokens_by_layer'][0]:,}",
            f"{row['analytic_speedup']:.2f}x",
            f"{row['analytic_causal_speedup']:.2f}x",
            f"**{row['measured_speedup']:.2f}x**",
            f"{row['score_share']:.1%}",
            f"{row['kv_share']:.0%}",
            "-" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**30:.2f} GiB",
        ]
        for row in record["rows"]
    ]
    ran = record["conditions"]
    line = (
        f"{ran['gpu'] or ran['cpu']}, {ran['threads']} threads, torch {ran['torch']}, "
        f"transformers {ran['transformers']}, commit {ran['commit']}; medians after a warm-up."
    )
    header = [
        "frames",
        "method",
        "runs",
        "tokens to the LLM",
        "all FLOPs",
        "causal FLOPs",
        "measured",
        "scoring",
        "KV",
        "peak memory",
    ]
    return markdown(header, rows) + "\n\n" + line


def first_token(record: str = "first_token_cuda") -> str:
    """Pixels to first token; how long it takes is told of a GPU alone, for others differ too much."""
    found = json.loads((ROOT / "results" / f"{record}.json").read_text())
    on_gpu = found["conditions"][0]["gpu"] is not None
    columns = ["model", "frames", "condition", "rounds", "ms", "encoder's share", "all FLOPs"]
    header = [*columns, "measured", "range", "pays"]
    rows = [
        [
            row["shape"],
            str(row["frames"]),
            condition(row),
            str(row["rounds"]),
            f"{row['first_token_ms']:.0f}",
            "-" if row["shares"] is None else f"{row['shares']['encode']:.0%}",
            f"{row['analytic']:.2f}x",
            f"**{row['measured']:.2f}x**",
            f"{row['lowest']:.2f}-{row['highest']:.2f}",
            row["pays"],
        ]
        for row in found["rows"]
    ]
    table = [
        [cell for name, cell in zip(header, line, strict=True) if on_gpu or name != "ms"]
        for line in (header, *rows)
    ]
    return f"{markdown(table[0], table[1:])}\n\n{where(found)}"


def first_token_cpu() -> str:
    """Pixels to first token, on a CPU."""
    return first_token("first_token")


def decode() -> str:
    """Tokens a second on a GPU."""
    record = json.loads((ROOT / "results" / "decode_cuda.json").read_text())
    rows = [
        [condition(row), f"{row['tokens_per_second']:.1f}", f"{row['kv_share']:.0%}"]
        for row in record["rows"]
    ]
    return f"{markdown(['condition', 'tokens a second', 'KV cache'], rows)}\n\n{where(record)}"


def published() -> str:
    """AIM's own published code beside ours, the same weights and pruning in both."""
    record = json.loads((ROOT / "results" / "published.json").read_text())
    sides = ("unreduced", "published code", "foveate")
    rows = []
    for row in record["rows"]:
        memory = [row["peak_bytes"][side] for side in sides]
        rows.append(
            [
                f"{row['tokens']:,}",
                str(min(row["runs"].values())),
                _ratio(row["published_over_unreduced"]),
                _ratio(row["speedup_over_unreduced"]),
                _ratio(row["speedup_over_published"]),
                " / ".join(f"{part / 2**30:.2f}" for part in memory) + " GiB",
                "the same" if row["same_first_kept"] else "others",
                ", ".join(str(ran["commit"]) for ran in row["conditions"]),
            ]
        )
    header = [
        "rows",
        "runs",
        "published over unreduced",
        "foveate over unreduced",
        "foveate over published",
        f"peak memory, {' / '.join(sides)}",
        "first tokens kept",
        "commit",
    ]
    ran = record["rows"][0]["conditions"][0]
    return (
        markdown(header, rows)
        + "\n\nLLM prefill of the 0.5B shape, pruned from layer 14 to 22, nothing merged: speed-ups. "
        f"{ran['cpu']}, {ran['threads']} threads; medians after a warm-up, "
        "a dash where there are fewer than five runs."
    )


def accuracy() -> str:
    """Exact match of foveate-mini over keep, with and without pruning."""
    record = json.loads((ROOT / "results" / "accuracy.json").read_text())
    by_setting: dict[str, dict[str, Any]] = {}
    for row in record["rows"]:
        by_setting.setdefault(row["setting"], {})[row["task"]] = row
    rows = []
    for setting, tasks in by_setting.items():
        share = sum(row["flops_share"] for row in tasks.values()) / len(tasks)
        cells = [
            f"{row['accuracy']:.1%} ({100 * row['difference']['low']:+.1f} to "
            f"{100 * row['difference']['high']:+.1f})"
            for row in tasks.values()
        ]
        rows.append([setting, f"{share:.0%}", *cells])
    header = ["AIM", "LLM FLOPs", *next(iter(by_setting.values()))]
    return (
        markdown(header, rows)
        + f"\n\n{record['n']} held-out questions a task; in brackets the 95 % interval of the paired "
        "difference to unreduced, in points."
    )


def long_video() -> str:
    """Few whole frames, or many reduced ones."""
    record = json.loads((ROOT / "results" / "long_video.json").read_text())
    rows = [
        [
            row["row"],
            f"{row['visual_tokens_to_llm']:.0f}",
            f"{row['llm_ratio']:.2f}x",
            f"{row['flops_ratio']:.2f}x",
            f"{row['accuracy']:.1%} ({100 * row['difference']['low']:+.1f} to "
            f"{100 * row['difference']['high']:+.1f})",
            f"{row['families']['needle']['accuracy']:.1%}",
        ]
        for row in record["rows"]
    ]
    header = ["shown", "tokens to the LLM", "LLM FLOPs", "all FLOPs", "accuracy", "needles"]
    aim = record["aim"]
    return (
        markdown(header, rows)
        + f"\n\n{record['n']} held-out questions about clips of 16 frames; in brackets the 95 % "
        "interval of the paired difference to the first row, in points. AIM here is "
        f"keep={aim['keep']:.3g}, prune={'off' if aim['prune'] is None else tuple(aim['prune'])}."
    )


def families() -> str:
    """What works on which family, and what is out of scope."""
    found = [vars(row) for row in support(TESTED["transformers"])]
    header = [name.replace("_", " ") for name in found[0]]
    rows = [[*{**row, "model": f"`{row['model']}`"}.values()] for row in found]
    kinds: dict[str, list[str]] = {}
    for kind, why in OUT_OF_SCOPE.items():
        kinds.setdefault(why, []).append(kind)
    others = [[", ".join(named), why] for why, named in kinds.items()]
    return (
        markdown(header, rows)
        + f"\n\nMethods that watch the encoder need its signals: {', '.join(watching())}. "
        + "Out of scope:\n\n"
        + markdown(["model types", "why"], others)
    )


def methods() -> str:
    """Every registered method."""
    rows = [
        [f"`{method.name}`", method.stage, method.summary, method.source]
        for method in known_methods().values()
    ]
    return markdown(["name", "works", "what it does", "source"], rows)


def compressors() -> str:
    """Rivals on foveate-mini at each count of visual tokens."""
    record = json.loads((ROOT / "results" / "compressors.json").read_text())
    kinds = ("reasoning", "ocr", "lookups")
    cells: dict[str, dict[int, str]] = {}
    for row in record["rows"]:
        told = " / ".join(_percent(row[kind]) for kind in kinds)
        cells.setdefault(row["rival"], {})[row["tokens"]] = told
    counts = sorted({row["tokens"] for row in record["rows"]})
    rows = [[name, *(by_count[count] for count in counts)] for name, by_count in cells.items()]
    header = ["compressor", *(f"{count} token{'s' * (count > 1)}" for count in counts)]
    asked = ", ".join(f"{record['questions'][kind]:,} {kind}" for kind in kinds)
    return (
        markdown(header, rows)
        + f"\n\nRight answers in percent, {' / '.join(kinds)}: {asked} held-out questions, mean over "
        f"{seeds(record['rows'], 'rival')}; a dash stands for a cell that was not run."
    )


def compressor_differences() -> str:
    """What the question adds: QueCC against rivals that do not look at it, on lookups."""
    record = json.loads((ROOT / "results" / "compressors.json").read_text())
    cells: dict[tuple[str, str], dict[int, str]] = {}
    for row in record["differences"]:
        found = row["lookups"]
        told = "-"
        if found is not None:
            mean, low, high = (100 * found[key] for key in ("mean", "low", "high"))
            told = f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
        cells.setdefault((row["of"], row["to"]), {})[row["tokens"]] = told
    counts = sorted({row["tokens"] for row in record["differences"]})
    rows = [
        [f"{of} minus {to}", *(by_count[count] for count in counts)]
        for (of, to), by_count in cells.items()
    ]
    header = ["lookups", *(f"{count} token{'s' * (count > 1)}" for count in counts)]
    return (
        markdown(header, rows)
        + "\n\nPoints, paired by seed and question; in brackets 95 % intervals, bootstrapped over both."
    )


def _ratio(found: float | None) -> str:
    return "-" if found is None else f"{found:.2f}x"


def _percent(found: dict[str, float] | None) -> str:
    return "-" if found is None else f"{100 * found['mean']:.0f}"


TABLES = {
    "end to end": end_to_end,
    "in short": in_short,
    "speed": speed,
    "adapted": adapted,
    "first token": first_token,
    "first token cpu": first_token_cpu,
    "decode": decode,
    "encoder": encoder,
    "rivals": rivals,
    "reuse": reuse,
    "still clip": still_clip,
    "order": order,
    "episodes": episodes,
    "episodes pairs": episodes_pairs,
    "episodes order": episodes_order,
    "zoo 2026": zoo_2026,
    "published": published,
    "accuracy": accuracy,
    "long_video": long_video,
    "families": families,
    "methods": methods,
    "compressors": compressors,
    "compressor differences": compressor_differences,
    "held": held,
    "load": load,
    **STUDY,
    **ZOO,
}


def filled(text: str) -> str:
    """A page with every table of it written anew."""
    for name, table in TABLES.items():
        if f"<!-- {name} -->" in text:
            text = put(text, name, table())
    return text


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text()))
