"""The page in a real browser: it shows the `Report` of the same request, and nothing is fetched."""

import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from foveate.ask.examples import FOLDER
from foveate.view.page import launch

pytest.importorskip("gradio", reason="the viewer in a browser needs gradio, which is not installed")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="the viewer in a browser needs playwright, which is not installed"
)
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip(
        "the viewer in a browser needs chromium, which is not here", allow_module_level=True
    )
WIDTHS = (1280, 400)
SECONDS = 180  # a busy machine
playwright.expect.set_options(timeout=1000 * SECONDS)


@pytest.fixture(scope="module")
def address(page):
    # this process alone, as in `foveate view`: no proxy stands between
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    return launch(page, 0)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def asked():
    """Addresses that the browser asked."""
    return []


@pytest.fixture
def opened(browser, address, asked):
    """The page, asked its first question."""
    tab = browser.new_page(viewport={"width": WIDTHS[0], "height": 900})
    tab.set_default_timeout(1000 * SECONDS)
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(address)
    tab.wait_for_selector(".fv-pane")
    yield tab
    tab.close()


def numbers(tab, pane):
    """What stands in a pane, by name."""
    cells = tab.locator(".fv-pane").nth(pane).locator("[data-exact]").all()
    return {
        cell.get_attribute("data-name"): float(cell.get_attribute("data-exact")) for cell in cells
    }


def drop(tab, file):
    """Drop a file on the page and wait until it was asked."""
    tab.locator("input[type=file]").set_input_files(file)
    playwright.expect(
        tab.locator(".fv-link, .fv-message", has_text="own cannot travel")
    ).to_be_visible()


def drag(tab, name, where):
    """Drag a slider to a part of its width with the mouse."""
    slider = tab.get_by_role("slider", name=name)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * where, box["y"] + box["height"] / 2, steps=4)
    tab.mouse.up()


def test_a_dropped_picture_under_a_dragged_budget_shows_its_report(opened, viewer, asked, tmp_path):
    file = tmp_path / "mine.png"
    Image.open(FOLDER / "reasoning-2.png").transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(file)
    drop(opened, file)
    drag(opened, "Budget", 0.8)
    budget = opened.get_by_role("spinbutton", name="Budget").input_value()
    assert 70 < float(budget) < 90
    said = f"within {float(budget):g}% with encoder, 2 methods."
    playwright.expect(opened.get_by_role("status").filter(has_text="Asked")).to_contain_text(said)

    question = opened.get_by_role("textbox", name="Question").input_value()
    plan = viewer.vlm.ask(file, question, budget=f"{budget}% with encoder")
    shown, report = numbers(opened, 0), plan.report
    assert shown["visual tokens to the LLM"] == report.visual_tokens_to_llm[0]
    assert shown["prefill, GFLOP"] == pytest.approx(report.prefill_flops / 1e9, abs=0)
    assert shown["KV cache, kB"] == pytest.approx(report.kv_bytes / 1e3, abs=0)
    pane = opened.locator(".fv-pane").first
    assert pane.locator(".fv-answer").inner_text() == plan.text
    assert pane.locator(".fv-unreduced").inner_text() == viewer.vlm.ask(file, question).text
    told = pane.locator(".fv-layers tbody tr td:nth-child(2)").all_inner_texts()
    assert [int(count) for count in told] == report.visual_tokens_by_layer[0]
    hosts = {urlsplit(url).hostname for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"}


def test_what_is_wrong_is_told_in_one_line_and_loses_nothing(opened, tmp_path):
    before = opened.locator(".fv-answer").first.inner_text()
    file = tmp_path / "notes.txt"
    file.write_text("no picture")
    opened.locator("input[type=file]").set_input_files(file)
    alert = opened.get_by_role("alert").filter(has_text="notes.txt")
    playwright.expect(alert).to_contain_text("cannot")
    assert opened.locator(".fv-answer").first.inner_text() == before
    opened.get_by_role("button", name="Clear").first.click()
    opened.get_by_role("spinbutton", name="Budget").fill("20")
    opened.get_by_role("spinbutton", name="Budget").press("Enter")
    refused = opened.locator(".fv-pane").nth(1).get_by_role("alert")
    playwright.expect(refused).to_contain_text("no plan fits 20.0% of the FLOPs with encoder")
    assert opened.locator(".fv-pane").nth(1).locator(".fv-answer").count() == 1


def test_a_link_sets_the_page_so_again(opened, browser):
    link = opened.locator(".fv-link a").get_attribute("href")
    changed = link.replace("layer=7", "layer=4").replace("methods=planner", "methods=tome")
    other = browser.new_page()
    other.set_default_timeout(1000 * SECONDS)
    other.goto(changed)
    other.wait_for_selector(".fv-pane")
    assert other.locator(".fv-pane h2").all_inner_texts() == ["tome", "fastv"]
    playwright.expect(other.get_by_role("combobox", name="Method of pane 1")).to_have_value("tome")
    assert "after layer 4" in other.locator("figcaption").last.inner_text()
    assert other.locator(".fv-link a").get_attribute("href") == changed
    other.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_and_every_input_and_picture_has_a_name(opened, width, tmp_path):
    opened.set_viewport_size({"width": width, "height": 900})
    opened.wait_for_timeout(500)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    folder = Path(os.environ.get("FOVEATE_SCREENSHOTS", tmp_path))
    shot = folder / f"view-{width}.png"
    opened.screenshot(path=shot, full_page=True)
    assert Image.open(shot).width == width
    for role in ("combobox", "textbox", "slider", "spinbutton"):
        inputs = opened.get_by_role(role).all()
        assert inputs
        for one in inputs:
            name = one.aria_snapshot().split('"')
            assert len(name) > 1, role
            assert name[1], role
    images = opened.locator(".fv-pane img").all()
    assert images
    assert all(image.get_attribute("alt") for image in images)


def test_the_budget_and_layer_can_be_set_by_the_keyboard(opened):
    slider = opened.get_by_role("slider", name="Show what is left after layer")
    slider.focus()
    opened.keyboard.press("ArrowLeft")
    playwright.expect(opened.locator("figcaption").last).to_contain_text("after layer 6")
