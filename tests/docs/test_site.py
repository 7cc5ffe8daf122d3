"""The built site: a stranger finds things in two clicks, no link is dead, all of it is ours."""

import json
import subprocess
import sys
from collections import deque
from html.parser import HTMLParser
from os.path import normpath
from pathlib import Path, PurePosixPath

import pytest

pytest.importorskip("mkdocs", reason="mkdocs is not installed (the extra docs)")
pytest.importorskip("material", reason="mkdocs-material is not installed (the extra docs)")
pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed (the extra docs)")

ROOT = Path(__file__).parents[2]
CLICKS = 2
# what a stranger looks for, where it is, and words that stand there
THINGS = {
    "how to install it": ("index.html", "pip install"),
    "a first answer": ("tutorial/first-answer.html", "ask"),
    "serving with vLLM": ("guides/serving.html#vllm", "--hf-overrides"),
    "how to add a method": ("guides/new-method.html", "Write one file and its test"),
    "what `needs` means": ("glossary.html", "What a method is handed besides the features"),
    "when NoEffectError is raised": ("reference/errors.html", "changed nothing"),
    "what a report's kv_bytes count": ("report.html#of-the-batch", "padding included"),
    "what the laws can tell": ("concepts/laws.html", "A scaling law"),
    "how a compressor is trained": ("reference/cli.html#foveate-train", "--compressor"),
    "the options of foveate batch": ("reference/cli.html#foveate-batch", "foveate batch"),
    "what plan takes": ("reference/api.html#foveate.plan", "budget"),
}


class Page(HTMLParser):
    """A page's links, ids, text, and what a browser loads with it.

    Args:
        html: the page.
    """

    def __init__(self, html):
        super().__init__()
        self.links, self.ids, self.loaded, self.words = [], set(), [], []
        self.inside = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        given, self.inside = dict(attrs), tag
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.append(given["href"])
        self.loaded += [given["src"]] if "src" in given else []

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.words.append(data)

    def handle_endtag(self, tag):
        self.inside = ""

    @property
    def text(self):
        return " ".join("".join(self.words).split())


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages of the site, by place, and its folder."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {
        file.relative_to(folder).as_posix(): Page(file.read_text())
        for file in sorted(folder.rglob("*.html"))
        if file.name != "404.html"
    }
    return folder, pages


def is_outside(link):
    return link.split(":")[0] in ("http", "https", "mailto") or link.startswith("//")


def target(place, link):
    """Where a link of a page leads: a place, with its #part."""
    path, _, part = link.partition("#")
    there = normpath(PurePosixPath(place).parent / path) if path else place
    there = f"{there}/index.html" if not PurePosixPath(there).suffix and path else there
    return f"{normpath(there)}#{part}" if part else normpath(there)


def clicks(pages, goal, start="index.html"):
    """Fewest links to follow from a page to another, or to a part of it; None if there is no way."""
    far, waiting = {start: 0}, deque([start])
    while waiting:
        at = waiting.popleft()
        if at == goal:
            return far[at]
        place = at.partition("#")[0]
        for link in pages[place].links if place in pages else ():
            there = target(place, link)
            if not is_outside(link) and there not in far:
                far[there] = far[at] + 1
                waiting.append(there)
    return None


@pytest.mark.parametrize("thing", THINGS)
def test_a_stranger_finds_it(site, thing):
    goal, words = THINGS[thing]
    pages = site[1]
    place, _, part = goal.partition("#")
    assert words in pages[place].text
    assert not part or part in pages[place].ids
    needed = clicks(pages, goal)
    assert needed is not None
    assert needed <= CLICKS


def test_clicks_are_counted():
    pages = {f"{at}.html": Page(f"<a href={to}.html>on</a>") for at, to in ("ab", "bc", "cd")}
    assert [clicks(pages, f"{goal}.html", "a.html") for goal in "abcd"] == [0, 1, 2, 3]
    assert clicks(pages, "e.html", "a.html") is None
    away = {"a.html": Page("<a href=https://b.c>on</a>")}
    assert clicks(away, "https://b.c", "a.html") is None


def test_no_link_is_dead(site):
    folder, pages = site
    dead = []
    for place, page in pages.items():
        for link in page.links:
            there, _, part = target(place, link).partition("#")
            if is_outside(link):
                continue
            is_there = (folder / there).is_file() and (
                not part or there not in pages or part in pages[there].ids
            )
            dead += [] if is_there else [(place, link)]
    assert dead == []


def test_nothing_is_loaded_from_elsewhere(site):
    for place, page in site[1].items():
        assert page.loaded
        assert [source for source in page.loaded if is_outside(source)] == [], place


def test_the_search_knows_every_page_also_where_it_is_opened_as_a_file(site):
    folder, pages = site
    found = (folder / "search" / "search_index.js").read_text()
    _, _, rows = found.partition("var __index = ")
    places = {row["location"].partition("#")[0] for row in json.loads(rows)["docs"]}
    assert places == set(pages)
    assert (folder / "assets" / "iframe-worker.js").is_file()
    for page in pages.values():
        assert sum(source.endswith("iframe-worker.js") for source in page.loaded) == 1


def test_no_page_is_left_out_of_the_navigation(site):
    """But what only other pages link to: the model card."""
    pages = site[1]
    aside = [place for place in pages if clicks(pages, place) != 1 and place != "index.html"]
    assert all(place.startswith("src/") for place in aside)
