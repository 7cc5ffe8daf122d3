"""What this machine has for foveate, what it lacks, and what to do about that. Nothing is changed."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import requires
from importlib.util import find_spec

import torch
from packaging.requirements import Requirement
from packaging.version import Version

from foveate.records.conditions import cpu_name, installed

FINE, LACKING, WRONG = "fine", "lacking", "wrong"
EXTRAS = {
    "batch": "foveate batch",
    "eval": "lmms-eval's tasks",
    "plot": "figures",
    "ray": "vLLM's own batches on Ray",
    "scenes": "scenes, the tasks of foveate measure",
    "serve": "foveate serve",
    "smol": "the recipe of foveate-smol",
    "train": "foveate train",
    "video": "clips from files",
    "view": "foveate view",
    "vllm": "the plug-in of vLLM's",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: its name.
        found: what is there.
        state: "fine", "lacking" where something more would work with it, or "wrong".
        remedy: what to do, "" where nothing is.
    """

    what: str
    found: str
    state: str = FINE
    remedy: str = ""


def findings() -> list[Finding]:
    """Versions, extras, devices, attention kernels and the model families of this transformers."""
    return [*_versions(), *_devices(), _threads(), *_kernels(), _families(), *_extras()]


def _requirements() -> dict[str, list[Requirement]]:
    """What foveate's own metadata asks for: by extra, "" for what it always needs."""
    asked: dict[str, list[Requirement]] = {"": []} | {extra: [] for extra in EXTRAS}
    for line in requires("foveate") or ():
        requirement = Requirement(line)
        for extra, listed in asked.items():
            environment = {"extra": extra}
            if requirement.marker is None:
                belongs = not extra
            else:
                belongs = bool(extra) and requirement.marker.evaluate(environment)
            if belongs:
                listed.append(requirement)
    return asked


def _versions() -> Iterator[Finding]:
    yield Finding("foveate", installed("foveate") or "not installed")
    for requirement in _requirements()[""]:
        yield _package(requirement, WRONG, f'pip install "{requirement}"')


def _package(requirement: Requirement, otherwise: str, remedy: str) -> Finding:
    """Whether a package is there, in a version that was asked for."""
    version = installed(requirement.name)
    if version is None:
        return Finding(requirement.name, "not installed", otherwise, remedy)
    if not requirement.specifier.contains(version, prereleases=True):
        told = f"{version}, tested with {requirement.specifier}"
        return Finding(requirement.name, told, WRONG, remedy)
    return Finding(requirement.name, version)


def _devices() -> Iterator[Finding]:
    yield Finding("CPU", cpu_name() or "unknown")
    for number in range(torch.cuda.device_count()):
        told = torch.cuda.get_device_properties(number)
        memory = f"{told.total_memory / 2**30:.0f} GiB"
        yield Finding(f"GPU {number}", f"{told.name}, {memory}")
    if not torch.cuda.is_available():
        remedy = "with an NVIDIA GPU: its driver, and a torch that was built for its CUDA"
        built = torch.version.cuda
        told = f"none that torch can use (built for {f'CUDA {built}' if built else 'CPUs'})"
        yield Finding("GPU", told, LACKING, remedy)


def _threads() -> Finding:
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    told = f"{threads} on {cores} cores"
    if threads > cores:
        return Finding("threads", told, WRONG, f"OMP_NUM_THREADS={cores}")
    return Finding("threads", told)


def _kernels() -> Iterator[Finding]:
    yield Finding("attention: eager, sdpa", "in torch; all methods work under both")
    has_flash = find_spec("flash_attn") is not None
    told = installed("flash_attn") or "there" if has_flash else "not installed"
    remedy = "" if has_flash else "for CUDA alone: pip install flash-attn; SDPA is as good for most"
    yield Finding("attention: flash", told, FINE if has_flash else LACKING, remedy)


def _families() -> Finding:
    from foveate.models.family import families

    known, here = families().values(), Version(installed("transformers") or "0")
    absent = [row.model_type for row in known if row.since and here < Version(row.since)]
    told = f"{len(known) - len(absent)} of {len(known)}; foveate families lists them"
    if absent:
        newest = next(r for r in _requirements()[""] if r.name == "transformers")
        return Finding(
            "model families", told, LACKING, f'{", ".join(absent)}: pip install "{newest}"'
        )
    return Finding("model families", told)


def _extras() -> Iterator[Finding]:
    """For each extra what it is for, and which of its packages are missing or of another version."""
    for extra, needed in _requirements().items():
        if not extra or not needed:
            continue
        remedy = f'pip install "foveate[{extra}]"'
        parts = [_package(requirement, LACKING, remedy) for requirement in needed]
        amiss = [part for part in parts if part.state != FINE]
        what = f"[{extra}] {EXTRAS[extra]}"
        if not amiss:
            yield Finding(what, "installed")
            continue
        state = LACKING if any(part.state == LACKING for part in amiss) else WRONG
        told = "; ".join(f"{part.what} {part.found}" for part in amiss)
        yield Finding(what, told, state, remedy)
