"""The site's hook of mkdocs.yml: files outside of docs/ that pages link to are there, too.

The README is the first page, CHANGELOG and CONTRIBUTING are pages, and any other file that a page
links to lies in the site under its path in the repository. So a link works on the site as it does in a
checkout. In the navigation `folder/*` stands for the folder's pages that are not named.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
FIRST = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
BACK = {place: path for path, place in FIRST.items()}
LINK = re.compile(r"(?<=\]\()(?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?(?=\))")


def place_of(path: str) -> str:
    """Where a file of the repository lies in the site: `docs/log.md` -> `log.md`."""
    return FIRST.get(path, path.removeprefix("docs/"))


def path_of(place: str) -> str:
    """The file of the repository that a page of the site is made from."""
    if place in BACK:
        return BACK[place]
    return f"docs/{place}" if (ROOT / "docs" / place).exists() else place


def target_of(link: str, path: str) -> str | None:
    """The file of the repository that a link in another leads to, None if there is none."""
    target = os.path.normpath(PurePosixPath(path).parent / link)
    return target if (ROOT / target).is_file() else None


def on_files(files: Files, config: Any) -> Files:
    """Add what lies outside of docs/: the first pages, and what any page links to."""
    waiting = [*FIRST, *(path_of(file.src_uri) for file in files.documentation_pages())]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        if not path.startswith("docs/"):
            files.append(File.generated(config, place_of(path), abs_src_path=str(ROOT / path)))
        new = set(linked(path)) - seen if path.endswith(".md") else set()
        seen |= new
        waiting += sorted(new)
    return files


def linked(path: str) -> Iterator[str]:
    """The files that a page links to."""
    for link in LINK.finditer((ROOT / path).read_text(encoding="utf-8")):
        target = target_of(link["path"], path)
        if target is not None:
            yield target


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links between files of the repository become links between places of the site."""
    place = page.file.src_uri
    path = path_of(place)

    def moved(link: re.Match) -> str:
        target = target_of(link["path"], path)
        if target is None:
            return link[0]
        found = os.path.relpath(place_of(target), PurePosixPath(place).parent)
        return found + (link["anchor"] or "")

    return LINK.sub(moved, markdown)


def on_config(config: Any) -> Any:
    """Put pages in the place of `folder/*`."""
    named = {page for section in config.nav for page in pages_of(section)}
    for section in config.nav:
        for title, pages in section.items():
            if isinstance(pages, list):
                section[title] = [new for page in pages for new in spelled_out(page, named)]
    return config


def pages_of(section: dict[str, Any]) -> Iterator[str]:
    """The pages that a section of the navigation names."""
    for pages in section.values():
        for page in [pages] if isinstance(pages, str) else pages:
            yield page if isinstance(page, str) else next(iter(page.values()))


def spelled_out(page: Any, named: set[str]) -> list[Any]:
    """A page of the navigation; for `folder/*` all that are not named."""
    if not isinstance(page, str) or not page.endswith("*"):
        return [page]
    found = sorted((ROOT / "docs").glob(f"{page}.md"))
    places = [place_of(path.relative_to(ROOT).as_posix()) for path in found]
    return [place for place in places if place not in named]
