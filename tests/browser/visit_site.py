"""Visit the built site in a headless Chromium, every page of both languages, and complain.

    python tests/browser/visit_site.py [--out runs/site] [PAGE …]

PAGE is part of a page's path, such as notebooks/02; without one all pages are visited. Each is seen
at 1400 and 400 pixels, light and dark. What is looked at:

- no error in the console, no request that fails or that leaves this machine;
- every link, image and anchor leads somewhere, every picture has an alternative text, every formula
  is drawn, nothing is wider than the screen, what a page loads is at most 2 MB;
- axe-core finds nothing, contrast of 4.5 among its rules;
- Tab reaches whatever can be pressed;
- the switch of language leads to the same page, and the downloaded notebook is the repository's;
- by example: search in both languages, copying, dark mode, a page without JavaScript, the
  attention explorer, and two pages as a PDF.

Needs requirements-browser.txt in .venv-site and a Chromium of the system; CHROMIUM names one that
is not on the PATH. `make test-site` builds the site and calls this.
"""

from __future__ import annotations

import argparse
import html.parser
import http.server
import json
import posixpath
import re
import sys
import threading
import urllib.parse
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import pdf  # noqa: E402

SITE = pdf.HTML
WIDTHS, THEMES = (1400, 400), ("light", "dark")
MOST_BYTES = 2_000_000
EXPLORERS = ("notebooks/05_multi30k_translation", "notebooks/08_bert")
SEARCHES = {  # a question, and a page that answers it
    "en": (("scaled dot-product", "02_attention"), ("rotary", "03_positional_encoding")),
    "zh": (("注意力", "02_attention"), ("旋转位置编码", "03_positional_encoding"),
           ("什么是缩放点积注意力", "02_attention")),
}  # fmt: skip
# Where a page is wrong to look at, asked in one go.
LOOK = r"""() => {
  const all = s => [...document.querySelectorAll(s)], width = document.documentElement.clientWidth;
  const prose = document.querySelector('article').cloneNode(true);
  prose.querySelectorAll('pre, code, math, iframe, dt.sig, span.pre').forEach(e => e.remove());
  const wide = e => e.getBoundingClientRect().right > width + 1
    && !e.closest('pre, .table-wrapper, div.formula, .cell_output');
  return {
    'pictures that are not drawn':
      all('img').filter(e => !e.complete || !e.naturalWidth).map(e => e.src),
    // In place of a text, Sphinx puts the address of the picture there.
    'pictures without words':
      all('article img').filter(e => !/[\s一-鿿]/.test(e.alt)).map(e => e.src),
    'formulas that are not drawn':
      all('math').filter(e => e.querySelector('merror') || /\\[a-zA-Z]/.test(e.textContent)
        || e.checkVisibility() && !e.getBoundingClientRect().width)
        .map(e => e.getAttribute('alttext')),
    'formulas left as text': prose.textContent.match(/\$[^$\n]*[\\^_{][^$\n]*\$|\$\$/g) ?? [],
    'bold left as stars': prose.textContent.match(/\*\*[^*\n]+\*\*/g) ?? [],
    'wider than the screen': document.documentElement.scrollWidth <= width ? [] :
      [document.documentElement.scrollWidth,
       ...all('article *').filter(wide).slice(0, 3).map(e => e.outerHTML.slice(0, 100))],
  };
}"""
AXE = """async rules => (await axe.run(document, rules)).violations.flatMap(v => v.nodes.map(
  n => v.id + ' ' + n.html.slice(0, 120) + ' ' + (n.any[0]?.data?.contrastRatio ?? '')))"""
CONTRAST = {"runOnly": ["color-contrast"], "iframes": False}
ALL_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "iframes": False}
# What can be pressed and is on the page (a closed drawer's links are not).
PRESSABLE = """() => {
  const seen = e => e.checkVisibility({visibilityProperty: true}) && e.getClientRects().length;
  const able = [...document.querySelectorAll(
    'a[href], button, input, select, iframe, [tabindex="0"]')].filter(e => seen(e) && !e.disabled);
  able.forEach((e, n) => e.dataset.number = n);
  document.activeElement?.blur(); scrollTo(0, 0);
  return able.map(e => e.outerHTML.slice(0, 100));
}"""


def pages(language: str) -> list[str]:
    folder = SITE / language
    found = (path.relative_to(folder) for path in folder.rglob("*.html"))
    return sorted(path.with_suffix("").as_posix() for path in found if path.parts[0] != "_static")


# ------------------------------------------------------------------------------ without a browser


class _Addresses(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.ids, self.loaded, self.switch = [], set(), [], ""

    def handle_starttag(self, tag, attributes):
        own = dict(attributes)
        self.ids |= {own[key] for key in ("id", "name") if own.get(key)}
        if tag == "a" and own.get("href") is not None:
            self.links.append(own["href"])
            if own.get("class") == "language":
                self.switch = own["href"]
        elif tag in ("img", "script", "iframe", "source") and own.get("src"):
            self.loaded.append(own["src"])
        elif tag == "link" and own.get("rel") not in ("next", "prev", "index", "search"):
            self.loaded.append(own["href"])


def check_files() -> list[str]:
    """Links, anchors, loaded files, the switch of language, the downloads."""
    complaints, known = [], {}
    for path in SITE.rglob("*.html"):
        known[path] = _Addresses()
        known[path].feed(path.read_text(encoding="utf-8"))
    for path, own in known.items():
        where = path.relative_to(SITE)
        complaints += [
            f"{where}: loads {a}"
            for a in own.loaded
            if re.match(r"\w+:|//", a) and "data:" not in a
        ]
        for address in [*own.links, *own.loaded]:
            if re.match(r"\w+:|//", address):
                continue
            file, _, place = address.partition("#")
            file = urllib.parse.unquote(file.split("?")[0])
            target = Path(posixpath.normpath(path.parent / file)) if file else path
            if not target.is_file():
                complaints.append(f"{where}: there is no {address}")
            elif place and target in known and urllib.parse.unquote(place) not in known[target].ids:
                complaints.append(f"{where}: there is no place {address}")
        if len(where.parts) > 1 and where.parts[0] in ("en", "zh"):
            other = {"en": "zh", "zh": "en"}[where.parts[0]]
            target = Path(posixpath.normpath(path.parent / own.switch))
            if target != SITE / other / Path(*where.parts[1:]):
                complaints.append(f"{where}: the switch of language leads to {own.switch}")
    if pages("en") != pages("zh"):
        complaints.append(
            f"pages of one language alone: {sorted(set(pages('en')) ^ set(pages('zh')))}"
        )
    for path in (ROOT / "notebooks").rglob("*.ipynb"):
        name = path.relative_to(ROOT).as_posix()
        language = "zh" if "/zh/" in name else "en"
        copy = SITE / language / "download" / name.replace("/zh/", "/")
        if not copy.is_file() or copy.read_bytes() != path.read_bytes():
            complaints.append(f"download/{name}: not the repository's")
    return complaints


def check_reference() -> list[str]:
    """What `from step_llm import …` offers is in the reference, if it is a function or a class."""
    source = (ROOT / "step_llm" / "__init__.py").read_text(encoding="utf-8")
    offered = re.findall(r'^    "([\w.]+)": \(([^)]*)\)', source, re.MULTILINE)
    text = "".join(
        p.read_text(encoding="utf-8") for p in (SITE / "en" / "reference").glob("*.html")
    )
    names = [
        (module, name) for module, listed in offered for name in re.findall(r'"(\w+)"', listed)
    ]
    # A package may offer what one of its modules defines. Constants have no entry.
    missing = [
        f"reference: no {module}.{name}"
        for module, name in names
        if not name.isupper() and not re.search(rf'id="step_llm\.{module}(\.\w+)*\.{name}"', text)
    ]
    return missing if names else ["reference: nothing is offered"]


# ------------------------------------------------------------------------------ with a browser


def watched(context, base, complaints):
    """A page whose errors and requests are written down."""
    page = context.new_page()
    page.bytes = 0

    def finished(request):
        page.bytes += request.sizes()["responseBodySize"]

    def route(route):
        if route.request.url.startswith((base, "data:", "about:", "blob:")):
            route.continue_()
        else:
            complaints.append(f"asks for {route.request.url}")
            route.abort()

    page.route("**/*", route)
    page.on("requestfinished", finished)
    page.on("requestfailed", lambda r: complaints.append(f"no answer from {r.url}"))
    page.on("pageerror", lambda e: complaints.append(f"error: {e}"))
    page.on("console", lambda m: m.type == "error" and complaints.append(f"console: {m.text}"))
    return page


def visit(context, base, name) -> list[str]:
    """One page at all widths and in both themes."""
    complaints = []
    page = watched(context, base, complaints)
    page.set_viewport_size({"width": WIDTHS[0], "height": 1000})
    page.emulate_media(color_scheme="light")
    page.goto(f"{base}/{name}.html", wait_until="load")
    if page.bytes > MOST_BYTES:
        complaints.append(f"loads {page.bytes:,} bytes")
    page.evaluate(AXE_SCRIPT)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 1000})
        page.wait_for_timeout(200)
        for what, found in page.evaluate(LOOK).items():
            complaints += [f"{width}: {what}: {one}" for one in found]
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            rules = ALL_RULES if theme == "light" else CONTRAST
            complaints += [f"{width}, {theme}: axe: {one}" for one in page.evaluate(AXE, rules)]
    page.close()
    return complaints


def check_keyboard(context, base, name) -> list[str]:
    """Tab, from the top of the page on, comes to everything that can be pressed."""
    complaints = []
    for width in WIDTHS:
        page = watched(context, base, complaints)
        page.set_viewport_size({"width": width, "height": 1000})
        page.goto(f"{base}/{name}.html")
        able = page.evaluate(PRESSABLE)
        reached = set()
        for _ in range(2 * len(able) + 60):  # an explorer takes some for itself
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.dataset.number ?? ''"))
            if len(reached - {""}) == len(able):
                break
        missed = [text for n, text in enumerate(able) if str(n) not in reached]
        complaints += [f"{width}: Tab does not reach {text}" for text in missed]
        if width < 800:  # the drawer opens by the keyboard, and then its links are there
            page.focus("#__navigation")
            page.keyboard.press("Space")
            page.wait_for_timeout(500)
            box = page.locator(".sidebar-tree a").first.bounding_box()
            if not box or box["x"] < 0:
                complaints.append("the navigation does not open by the keyboard")
        page.close()
    return [f"{name}: {one}" for one in complaints]


def check_explorer(context, base, name) -> list[str]:
    """Another token, another head: the picture of the explorer is another one."""
    complaints = []
    page = watched(context, base, complaints)
    page.goto(f"{base}/{name}.html")
    element = page.locator("iframe[srcdoc]").first
    element.scroll_into_view_if_needed()
    frame = element.element_handle().content_frame()
    frame.wait_for_selector("li button")
    drawn = {element.screenshot()}
    frame.locator("li button").nth(2).click()
    drawn.add(element.screenshot())
    frame.locator("td button").last.click()
    drawn.add(element.screenshot())
    if len(drawn) != 3 or frame.locator('li button[aria-checked="true"]').count() != 1:
        complaints.append(f"the explorer shows {len(drawn)} pictures for three choices")
    page.close()
    return [f"{name}: {one}" for one in complaints]


def check_search(context, base, language) -> list[str]:
    complaints = []
    for question, answer in SEARCHES[language]:
        page = watched(context, base, complaints)
        page.goto(f"{base}/{language}/search.html?q={urllib.parse.quote(question)}")
        try:
            page.wait_for_selector(f'#search-results a[href*="{answer}"]', timeout=20_000)
        except Exception:
            complaints.append(f"search for {question} does not find {answer}")
        page.close()
    return complaints


def check_uses(browser, base) -> list[str]:
    """The switch of language, copying, dark mode by the button; and a page without JavaScript."""
    complaints, address = [], f"{base}/en/notebooks/02_attention.html"
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, color_scheme="light")
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=base)
    page = watched(context, base, complaints)
    page.goto(address)
    page.hover("div.cell_input >> nth=1")
    page.click("div.cell_input >> nth=1 >> button.copybtn")
    copied = page.evaluate("navigator.clipboard.readText()")
    shown = page.locator("div.cell_input pre").nth(1).inner_text()
    if copied.strip() != shown.strip():
        complaints.append(f"copied {copied[:60]!r}, not {shown[:60]!r}")
    colour, seen = "getComputedStyle(document.body).backgroundColor", set()
    for _ in range(3):  # auto, light, dark, in some order
        page.locator(".theme-toggle:visible").first.click()
        seen.add((page.evaluate("document.body.dataset.theme"), page.evaluate(colour)))
    if len({theme for theme, _ in seen}) != 3 or len({background for _, background in seen}) != 2:
        complaints.append(f"the button for dark mode gives {seen}")
    page.click(".page-links .language")
    if not page.url.endswith("/zh/notebooks/02_attention.html"):
        complaints.append(f"the switch of language leads to {page.url}")
    context.close()
    backgrounds = set()
    for theme in THEMES:
        context = browser.new_context(java_script_enabled=False, color_scheme=theme)
        page = watched(context, base, complaints)
        page.goto(address)
        heading, body = page.locator("article h1"), page.locator("article").inner_text()
        if not heading.is_visible() or len(body) < 5000 or heading.bounding_box()["y"] > 300:
            complaints.append("without JavaScript the lesson is not to be read")
        backgrounds.add(page.screenshot(clip={"x": 700, "y": 2, "width": 8, "height": 8}))
        context.close()
    if len(backgrounds) != 2:
        complaints.append("without JavaScript a dark system gets a light page")
    return complaints


def check_pdf(browser, base) -> list[str]:
    """Two pages in one PDF: bookmarks, and a link between them that stays in it."""
    names = ["index", "notebooks/02_attention"]
    complaints, writer = [], pdf.join(pdf.print_pages("en", names, base, browser), "en")
    starts, titles = {}, []

    def look(items):
        for item in items:
            if isinstance(item, list):
                look(item)
            else:
                titles.append(item.title)
                starts.setdefault(item.title, writer.get_destination_page_number(item))

    look(writer.outline)
    for title in ("2. Attention", "Summary"):
        if title not in titles:
            complaints.append(f"no bookmark {title}: {titles[:5]}")
    links = [note.get_object() for sheet in writer.pages for note in sheet.get("/Annots", ())]
    outside = [str(link["/A"].get("/URI")) for link in links if "/A" in link]
    complaints += [f"leads to {address}" for address in outside if "127.0.0.1" in address]
    lesson = writer.pages[starts.get("2. Attention", 0)].indirect_reference
    contents = [note.get_object() for note in writer.pages[0].get("/Annots", ())]
    if not any(link["/Dest"][0] == lesson for link in contents if "/Dest" in link):
        complaints.append("the contents have no link to the lesson")
    if not any("arxiv.org" in address for address in outside):
        complaints.append("no link to a paper")
    return complaints


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pages", nargs="*", help="parts of paths; default: all pages")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "site")
    options = parser.parse_args()
    try:
        browser_path = pdf.find_browser()
    except pdf.Stop as stop:
        print(stop, file=sys.stderr)
        return 2
    report = {"files": check_files(), "reference": check_reference()}
    chosen = [f"{language}/{page}" for language in ("en", "zh") for page in pages(language)]
    chosen = [
        page for page in chosen if not options.pages or any(part in page for part in options.pages)
    ]
    with ExitStack() as stack:
        handler = partial(pdf.QuietHandler, directory=SITE)
        server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        base = f"http://127.0.0.1:{server.server_port}"
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=browser_path, args=list(pdf.FLAGS))
        context = browser.new_context()
        for page in chosen:
            report[page] = visit(context, base, page)
            print(f"{page}: {len(report[page])}", *report[page], sep="\n  ", flush=True)
        for language in ("en", "zh"):
            report[f"search {language}"] = check_search(context, base, language)
            keys, pictures = f"keyboard {language}", f"explorer {language}"
            report[keys], report[pictures] = [], []
            for page in ("index", EXPLORERS[0]):
                report[keys] += check_keyboard(context, base, f"{language}/{page}")
            for page in EXPLORERS:
                report[pictures] += check_explorer(context, base, f"{language}/{page}")
        report["uses"] = check_uses(browser, base)
        report["pdf"] = check_pdf(browser, base)
        browser.close()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False))
    complaints = [f"{where}: {one}" for where, found in report.items() for one in found]
    print("\n".join(complaints))
    print(f"{len(chosen)} pages visited, {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
