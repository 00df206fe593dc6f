"""The page in a real browser: Chromium, driven by Playwright. Skipped, visibly, where there is no Chromium."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import uvicorn
from playwright.sync_api import expect, sync_playwright

from seqlore.data import Dataset, Split, leave_one_out
from seqlore.models import ItemKNN  # type: ignore[attr-defined]
from seqlore.recommender import REGISTRY
from seqlore.serve.app import create_app
from seqlore.serve.settings import ServeSettings
from telling import Telling

CHROMIUM = os.environ.get("SEQLORE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (apt install chromium, or SEQLORE_CHROMIUM)")

#: A title that would be an element, if anybody let it.
EVIL = '<img src=x onerror="window.broken=1"> & <b>bold</b> cream'


@pytest.fixture(scope="module")  # not longer: Playwright's event loop runs in this thread, and others start their own
def browser() -> Iterator[Any]:
    with sync_playwright() as playwright:
        # Without its sandbox, which a container without privileges cannot make; only our own page is opened.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def evil(split: Split, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models of a shop in which an item's title is markup."""
    items = split.dataset.items
    assert items is not None
    titles = items["title"].to_list()
    titles[0] = EVIL
    shop = Dataset.from_frames(split.dataset.interactions, items.with_columns(title=pl.Series(titles)), name="shop")
    root = tmp_path_factory.mktemp("evil")
    shop = leave_one_out(shop)
    return [Telling().fit(shop).save(root / "Telling"), ItemKNN().fit(shop).save(root / "ItemKNN")]


def serving(app: Any) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def url(run_folder: Path, frozen: Path, lore: Path) -> Iterator[str]:
    yield from serving(create_app([run_folder, frozen], ServeSettings(), lore=[lore]))


@pytest.fixture(scope="module")
def evil_url(evil: list[Path]) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REGISTRY, "Telling", "telling:Telling")
        yield from serving(create_app(evil, ServeSettings(token="abc")))


@pytest.fixture
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page of the given width and scheme (default: a desk, light), on which nothing may go wrong."""
    width, scheme = getattr(request, "param", (1280, "light"))
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(20_000)
    wrong: list[str] = []
    elsewhere: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if "Content Security" in message.text else None)
    page.on(
        "request", lambda r: elsewhere.append(r.url) if not r.url.startswith(("http://127.0.0.1:", "blob:")) else None
    )
    yield page
    context.close()
    assert wrong == []
    assert elsewhere == [], "the page asks nobody but the service"


def choose(page: Any, words: str) -> None:
    """Type words of a title and take the first, by keyboard."""
    page.fill("[role=combobox]", words)
    page.wait_for_selector("[role=option]")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector(".chips li")


WIDE_AND_SMALL = [(1280, "light"), (390, "dark")]


@pytest.mark.parametrize("page", WIDE_AND_SMALL, indirect=True)
def test_a_history_is_typed_and_models_answer_side_by_side(page: Any, url: str, split: Split) -> None:
    page.goto(url)
    page.wait_for_selector("article li")
    choose(page, split.catalog.titles[2])
    assert page.locator(".chips span").all_inner_texts() == [split.catalog.titles[2]]
    page.wait_for_selector(".why q")
    names = page.locator("article h2").all_inner_texts()
    assert len(names) == 3
    assert page.locator("article").first.locator("ol > li").count() == 10
    assert page.locator(".agreement summary").inner_text().startswith(tuple("0123456789"))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out at the side"
    # what one sees is what the API says
    shown = page.locator("article").first.locator("ol > li > a").all_inner_texts()
    told = page.evaluate(
        """async (asked) => (await (await fetch("/v1/recommend", {method: "POST", body: JSON.stringify(asked),
        headers: {"content-type": "application/json"}})).json()).lists[0].items.map((item) => item.title)""",
        {"model": names[0].split()[0], "history": [split.catalog.ids[2]]},
    )
    assert shown == told
    # a history in the address is there again
    assert page.evaluate("location.hash") == f"#try?history={split.catalog.ids[2]}"
    page.reload()
    page.wait_for_selector(".chips li")
    assert page.locator(".chips span").all_inner_texts() == [split.catalog.titles[2]]


def test_models_are_switched_and_lists_filtered(page: Any, url: str, split: Split) -> None:
    page.goto(url)
    page.wait_for_selector("article li")
    for box in page.locator("fieldset input").all()[1:]:
        box.uncheck()
    expect(page.locator("article")).to_have_count(1)
    brand = split.catalog.items["brand"][0]
    page.get_by_label("Only where").select_option("brand")
    page.get_by_label("is", exact=True).fill(brand)
    page.keyboard.press("Enter")
    count = split.catalog.items.filter(brand=brand).height
    expect(page.locator("article ol > li")).to_have_count(min(count, 10))


def test_everything_is_done_by_keyboard(page: Any, url: str) -> None:
    page.goto(url)
    page.wait_for_selector("article li")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(5):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "combobox"
    page.keyboard.type("a")
    page.wait_for_selector("[role=option]")
    page.keyboard.press("ArrowDown")
    active = page.evaluate("document.activeElement.getAttribute('aria-activedescendant')")
    assert page.locator(f"#{active}").get_attribute("aria-selected") == "true"
    page.keyboard.press("Escape")
    assert not page.locator("[role=listbox]").is_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector(".chips li")
    page.keyboard.press("Backspace")
    assert page.locator(".chips li").count() == 0, "in an empty field it takes back the latest item"


def test_the_catalogue_shows_an_item_with_its_knowledge(page: Any, url: str, split: Split) -> None:
    page.goto(url + "#browse")
    page.wait_for_selector(".titles li")
    page.get_by_label("Search").fill(split.catalog.titles[1])
    expect(page.get_by_role("status")).to_contain_text("found")
    page.locator(".titles button").first.click()
    page.wait_for_selector(".detail h2")
    detail = page.locator(".detail").inner_text()
    assert split.catalog.titles[1] in detail
    assert "<b>Good</b> for days." in detail, "knowledge is shown as text"
    page.get_by_role("button", name="Put into the history").click()
    page.wait_for_selector(".chips li")
    assert page.locator(".chips span").all_inner_texts() == [split.catalog.titles[1]]


@pytest.mark.parametrize("page", WIDE_AND_SMALL, indirect=True)
def test_leaderboards_and_figures_of_a_run(page: Any, url: str) -> None:
    page.goto(url + "#boards")
    page.wait_for_selector("tbody tr")
    assert page.locator("tbody tr").count() == 3
    page.wait_for_selector("figure img[src]")
    assert page.evaluate("document.images[0].decode().then(() => document.images[0].naturalWidth)") > 100
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click("nav a[href='#models']")
    page.wait_for_selector("dl")
    assert "leave-one-out" in page.locator("main").inner_text()


def test_markup_in_a_title_stays_text_and_the_token_is_asked_for(page: Any, evil_url: str) -> None:
    page.goto(evil_url)
    page.wait_for_selector("dialog input").fill("abc")
    page.keyboard.press("Enter")
    page.wait_for_selector("article li")
    page.fill("[role=combobox]", "bold cream img")
    page.wait_for_selector("[role=option]")
    assert EVIL in page.locator("[role=option]").first.inner_text()
    page.keyboard.press("Enter")
    page.wait_for_selector(".chips li")
    assert page.locator(".chips span").inner_text() == EVIL
    page.wait_for_selector(".why p")
    assert EVIL in page.locator("article").nth(1).inner_text()
    item = page.locator("article").first.locator("li").first
    item.get_by_role("button", name="What does the model say it is?").click()
    expect(item).to_contain_text("The model's label: <b>item</b>")
    assert page.evaluate("window.broken") is None
    assert page.locator("main img, main b").count() == 0
