"""The attention explorer: one page, nothing from outside, and every part of it without a mouse."""

from __future__ import annotations

import html
import json
import os
import re
import shutil

import numpy as np
import pytest

from step_llm.evaluation.explorer import AttentionExplorer, AttentionMap
from tests.support.language import english_left

TOKENS = ["▁ein", "</script><b>", 'a"&\\n']
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def weights(*shape):
    drawn = np.random.default_rng(0).random(shape)
    return drawn / drawn.sum(axis=-1, keepdims=True)


def explorer():
    maps = [
        AttentionMap("cross", ["▁a", "<EOS>"], TOKENS, weights(2, 3, 2, 3), "what looks at what"),
        AttentionMap("self", TOKENS, TOKENS, weights(1, 2, 3, 3)),
    ]
    return AttentionExplorer(maps, title="<i>Ein & Hund</i>")


def data_of(page):
    return json.loads(re.search(r'application/json">(.*?)</script>', page, re.DOTALL).group(1))


def test_the_page_holds_every_weight_and_label():
    found = data_of(explorer().page())
    assert found["title"] == "<i>Ein & Hund</i>"
    assert [one["name"] for one in found["maps"]] == ["cross", "self"]
    assert found["maps"][0]["keys"] == TOKENS
    expected = np.rint(1000 * weights(2, 3, 2, 3))
    np.testing.assert_array_equal(found["maps"][0]["weights"], expected)


def test_nothing_comes_from_outside_and_no_token_ends_the_script():
    page = explorer().page()
    addresses = set(re.findall(r"\w+://[^\"'\s]+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}, "a name, which nobody fetches"
    assert "default-src 'none'" in page
    assert page.count("</script>") == 2
    assert "<b>" not in page
    assert not re.search(r"innerHTML|document\.write|\beval\b", page)


def test_in_a_notebook_it_is_a_frame_of_its_own(tmp_path):
    shown = explorer()
    frame = shown._repr_html_()
    assert frame.count("<") == 2, "the page and the title are escaped"
    page = html.unescape(re.search(r'srcdoc="([^"]*)"', frame).group(1))
    assert page == shown.page()
    assert repr(shown) == "AttentionExplorer of cross (2, 3, 2, 3), self (1, 2, 3, 3)"
    shown.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page


def test_in_the_chinese_edition_the_page_is_chinese(monkeypatch):
    monkeypatch.setenv("STEP_LLM_LANGUAGE", "zh")
    texts = [
        "Decoder: to write a token, it looks at the source.",
        "Decoder: a token looks at itself and those before it.",
        "Encoder: a token looks at the source.", "Each token looks at all tokens.", "of mine",
    ]  # fmt: skip
    maps = [AttentionMap("self-attention", TOKENS, TOKENS, weights(1, 1, 3, 3), t) for t in texts]
    page = AttentionExplorer(maps).page()
    found = data_of(page)
    assert '<html lang="zh-CN">' in page
    assert found["title"] == "注意力"
    assert {one["name"] for one in found["maps"]} == {"自注意力"}
    *known, own = (one["text"] for one in found["maps"])
    assert own == "of mine"
    assert not [text for text in known if english_left(text) or text.isascii()]
    said = {
        *re.findall(r'say\("([^"]+)"', page), *re.findall(r'aria-label="([^"]+)"', page),
        re.search(r'id="how">([^<]+)<', page)[1],
    }  # fmt: skip
    assert len(said) == 10
    assert said <= set(found["words"])
    sentence = "A man scratches his head in thought"  # words of the table within a title
    assert data_of(AttentionExplorer(maps, title=sentence).page())["title"] == sentence
    monkeypatch.setenv("STEP_LLM_LANGUAGE", "en")
    assert data_of(explorer().page())["words"] == {}
    assert '<html lang="en">' in explorer().page()


def test_weights_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        AttentionExplorer([])
    with pytest.raises(ValueError, match=r"shape \(2, 3\); expected \(L, H, T, S\)"):
        AttentionExplorer([AttentionMap("self", TOKENS, TOKENS, weights(2, 3))])
    with pytest.raises(ValueError, match=r"\(T, S\) = \(2, 3\)"):
        AttentionExplorer([AttentionMap("cross", ["a", "b"], TOKENS, weights(1, 1, 3, 2))])


@pytest.fixture(scope="module")
def browser():
    """A Chromium, where the package playwright and the browser are there."""
    api = pytest.importorskip("playwright.sync_api")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("there is no Chromium")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, tmp_path):
    """The explorer in a browser, on a phone in the dark; a script that fails is an error."""
    explorer().save(tmp_path / "page.html")
    context = browser.new_context(
        viewport={"width": 360, "height": 700}, color_scheme="dark", has_touch=True
    )
    opened, errors = context.new_page(), []
    opened.on("pageerror", lambda error: errors.append(error))
    opened.on("console", lambda message: errors.append(message.text))
    opened.goto((tmp_path / "page.html").as_uri())
    yield opened
    assert errors == []
    context.close()


def status(page):
    return page.inner_text("#status").split(" looks at ")[0]


def test_it_is_usable_by_keyboard(page):
    assert page.title() == "<i>Ein & Hund</i>"
    assert status(page) == "Layer 1, head 1: “▁a”"
    for keys, expected in (
        (["Tab", "Tab", "ArrowRight"], "Layer 1, head 2: “▁a”"),
        (["ArrowDown"], "Layer 2, head 2: “▁a”"),
        (["ArrowDown"], "Layer 2, head 2: “▁a”"),
        (["End"], "Layer 2, mean: “▁a”"),
        (["Tab", "ArrowDown"], "Layer 2, mean: “<EOS>”"),
        (["ArrowRight", "Home"], "Layer 2, mean: “▁a”"),
        (["Shift+Tab", "Shift+Tab", "ArrowRight"], "Layer 1, mean: “▁ein”"),
    ):
        for key in keys:
            page.keyboard.press(key)
        assert status(page) == expected
    assert page.inner_text("#text") == ""


def test_a_tap_shows_where_a_token_looks(page):
    page.tap("#queries li:nth-child(2) button")
    assert status(page) == "Layer 1, head 1: “<EOS>”"
    row = weights(2, 3, 2, 3)[0, 0, 1]
    assert page.locator("#keys small").all_inner_texts() == [f"{w:.2f}" for w in row]
    assert page.locator("#keys span").all_inner_texts() == TOKENS
    page.tap("td button[aria-label='layer 2, head 3']")
    assert status(page) == "Layer 2, head 3: “<EOS>”"


def test_it_is_dark_in_the_dark_and_as_wide_as_the_phone(page):
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 28)"
    assert page.evaluate("document.documentElement.scrollWidth") == 360
