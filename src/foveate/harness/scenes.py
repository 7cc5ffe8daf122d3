r"""The scenes as lmms-eval tasks, offline: a folder for `--include_path`.

python -m foveate.harness.scenes scenes --samples 100
lmms-eval --model foveate --model_args pretrained=foveate-mini,reduction=aim,keep=0.25 \
        --include_path scenes --tasks foveate_ocr,foveate_reasoning,foveate_video
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from foveate.ask.media import Clip
from foveate.errors import MissingExtraError
from foveate.measure.tasks.scenes import NAMES, Scenes

YAML = """\
task: foveate_{name}
dataset_path: parquet
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: generate_until
doc_to_messages: !function utils.messages
doc_to_visual: !function utils.visual
doc_to_text: !function utils.text
doc_to_target: answer
process_results: !function utils.results
generation_kwargs:
  max_new_tokens: {longest}
  temperature: 0
  do_sample: false
metric_list:
  - metric: exact
    aggregation: mean
    higher_is_better: true
metadata:
  - version: 1
"""
UTILS = '''\
"""What the tasks of this folder do."""

from foveate.harness.scenes import messages, results, text, visual  # noqa: F401
'''


def write(folder: Path, samples: int, names: tuple[str, ...] = NAMES) -> None:
    """Write questions of the test split as tasks.

    Args:
        folder: for `--include_path`; made if it is not there.
        samples: questions a task.
        names: of the tasks.

    Raises:
        MissingExtraError: datasets is absent.
    """
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("Writing lmms-eval tasks", "eval") from None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "utils.py").write_text(UTILS)
    features = datasets.Features(
        {
            "frames": datasets.Sequence(datasets.Image()),
            "is_video": datasets.Value("bool"),
            "question": datasets.Value("string"),
            "answer": datasets.Value("string"),
            "kind": datasets.Value("string"),
        }
    )
    for name in names:
        task, rows = Scenes(name), []
        for index in range(samples):
            item = task.item(index)
            (shown,) = item.media
            clip = isinstance(shown, Clip)
            rows.append(
                {
                    "frames": list(shown.frames) if clip else [shown],
                    "is_video": clip,
                    "question": item.question,
                    "answer": item.answers[0],
                    "kind": item.kind,
                }
            )
        file = (folder / f"{name}.parquet").resolve()
        datasets.Dataset.from_list(rows, features=features).to_parquet(str(file))
        text = YAML.format(name=name, file=file, longest=task.answer_tokens)
        (folder / f"foveate_{name}.yaml").write_text(text)


def messages(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The conversation of a question: pictures, then the words."""
    frames = document["frames"]
    shown = {"type": "video", "url": frames} if document["is_video"] else None
    content = [shown or {"type": "image", "url": frames[0]}]
    content.append({"type": "text", "text": document["question"]})
    return [{"role": "user", "content": content}]


def visual(document: dict[str, Any]) -> list[Any]:
    """The pictures, or frames, of a question."""
    return list(document["frames"])


def text(document: dict[str, Any], *_: Any) -> str:
    """The words of a question."""
    return document["question"]


def results(document: dict[str, Any], answers: list[str]) -> dict[str, float]:
    """1 if the answer is exactly right, else 0."""
    return {"exact": float(answers[0].strip() == document["answer"])}


def main() -> None:
    """Parse and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=100)
    arguments = parser.parse_args()
    write(arguments.folder, arguments.samples)
    sys.stderr.write(
        f"Wrote {', '.join(f'foveate_{name}' for name in NAMES)} to {arguments.folder}\n"
    )


if __name__ == "__main__":
    main()
