"""The course as one PDF for each language: the built site, printed page by page by a Chromium.

    python tools/pdf.py                    build/pdf/step_llm.en.pdf and step_llm.zh.pdf
    python tools/pdf.py zh --only 02_attention glossary     pages whose path has one of these parts

The pages are joined: a bookmark for each heading, and links between them lead to sheets of the same
PDF.

Runs in .venv-site, after the site has been built (`make pdf`). Needs requirements-browser.txt, a
Chromium of the system (CHROMIUM names one that is not on the PATH), and a font with Chinese, since
the English lessons give the Chinese terms too (Debian: fonts-noto-cjk).
"""

from __future__ import annotations

import argparse
import functools
import http.server
import importlib.util
import io
import os
import re
import shutil
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "build" / "site" / "html"
PDF = ROOT / "build" / "pdf"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
NAMES = {
    "en": "A Transformer, step by step, on MindSpore",
    "zh": "用 MindSpore 一步一步搭建 Transformer",
}
# On paper: the name of the page, and which of its sheets this is.
FOOTER = (
    '<div style="font-size: 7px; width: 100%; margin: 0 15mm; display: flex; '
    'justify-content: space-between"><span class="title"></span>'
    '<span><span class="pageNumber"></span> / <span class="totalPages"></span></span></div>'
)
# Whatever is folded is opened, and whatever is loaded late is waited for.
READY = """async () => {
  document.querySelectorAll('details').forEach(e => e.open = true);
  const images = [...document.images];
  images.forEach(e => e.loading = 'eager');
  await Promise.all(images.map(e => e.decode().catch(() => {})));
  await document.fonts.ready;
}"""
# Without a Chinese font, every character is the same box.
HAS_CHINESE = """() => {
  const drawn = character => {
    const canvas = document.createElement('canvas'), pen = canvas.getContext('2d');
    pen.font = '24px sans-serif';
    pen.fillText(character, 2, 30);
    return canvas.toDataURL();
  };
  return drawn('注') !== drawn('意');
}"""


class Stop(Exception):
    """The PDF cannot be made, and why."""


def site_tool():
    """tools/site.py; not by its name, since Python has a module `site` of its own."""
    spec = importlib.util.spec_from_file_location("course_site", ROOT / "tools" / "site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages(language: str, parts: tuple[str, ...] = ()) -> list[str]:
    """The site's pages in the order of its index: lessons, solutions, documents.

    The reference of the library is left out: it is looked up, not read.
    """
    tool = site_tool()
    index = (tool.SITE / f"index.{language}.md").read_text(encoding="utf-8")
    documents = [page.removesuffix(".md") for page in tool.PAGES]
    named = [line for line in index.splitlines() if line in documents]
    notebooks = [page.removesuffix(".ipynb") for page in tool.notebooks()]
    solutions = [page for page in notebooks if "/solutions/" in page]
    lessons = notebooks[: -len(solutions)]
    found = ["index", *lessons, "notebooks/solutions/index", *solutions, *named]
    return [page for page in found if not parts or any(part in page for part in parts)]


def find_browser() -> str:
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), "")
    if not found:
        raise Stop(
            f"there is no browser: install one of {', '.join(BROWSERS)}, or name one: "
            "CHROMIUM=/path/to/chromium"
        )
    return found


# ------------------------------------------------------------------------------ printing


def print_pages(language: str, names: list[str], base: str, browser) -> list[tuple[str, bytes]]:
    """The site's pages as PDF, each with its name."""
    context = browser.new_context(color_scheme="light", viewport={"width": 900, "height": 1200})
    page, printed = context.new_page(), []
    for name in names:
        if not (HTML / language / f"{name}.html").exists():
            raise Stop(f"there is no {language}/{name} in {HTML.relative_to(ROOT)}: run make site")
        print(f"{language}/{name}", flush=True)
        page.goto(f"{base}/{language}/{name}.html", wait_until="load")
        page.evaluate(READY)
        # At this scale 100 characters of code fit a line.
        sheets = page.pdf(
            format="A4", scale=0.75, print_background=True, outline=True, tagged=True,
            margin=dict.fromkeys(("top", "bottom", "left", "right"), "15mm"),
            display_header_footer=True, header_template="<span></span>", footer_template=FOOTER,
        )  # fmt: skip
        printed.append((name, sheets))
    context.close()
    return printed


# ------------------------------------------------------------------------------ joining


def join(printed: list[tuple[str, bytes]], language: str):
    """One PDF of all, with their bookmarks; returns pypdf's writer.

    A link to a page that is in it leads to that page's first sheet; one to another page of the site
    is taken away, since its address was that of the printing alone.
    """
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import ArrayObject, NameObject, NullObject

    writer, starts = PdfWriter(), {}
    for name, sheets in printed:
        reader = PdfReader(io.BytesIO(sheets))
        _spell_out_places(reader)
        starts[f"{language}/{name}.html"] = len(writer.pages)
        writer.append(reader)
    for sheet in writer.pages:
        kept = ArrayObject()
        for reference in sheet.get("/Annots", ()):
            link = reference.get_object()
            page = page_of(str(link.get("/A", {}).get("/URI", "")))
            if page in starts:
                del link["/A"]
                place = [writer.pages[starts[page]].indirect_reference, NameObject("/XYZ")]
                link[NameObject("/Dest")] = ArrayObject([*place, *[NullObject()] * 3])
            if page in starts or page is None:
                kept.append(reference)
        sheet[NameObject("/Annots")] = kept
    writer.compress_identical_objects()  # a quarter: the letters, above all
    writer.add_metadata({"/Title": NAMES[language], "/Creator": "step_llm"})
    writer.page_mode = "/UseOutlines"
    return writer


def page_of(address: str) -> str | None:
    """What page of the site an address of the printing means; None for an address elsewhere."""
    found = re.match(r"http://127\.0\.0\.1:\d+/([^#?]*)", address)
    return found and found.group(1)


def _spell_out_places(reader) -> None:
    """Name no place: every lesson has a «summary», and in one PDF these names would collide."""
    from pypdf.generic import NameObject

    places = {name.lstrip("/"): place for name, place in reader.named_destinations.items()}
    for sheet in reader.pages:
        for reference in sheet.get("/Annots", ()):
            link = reference.get_object()
            name = link.get("/Dest")
            if isinstance(name, str) and name.lstrip("/") in places:
                link[NameObject("/Dest")] = places[name.lstrip("/")].dest_array


# ------------------------------------------------------------------------------ the command


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


def make(languages: list[str], parts: tuple[str, ...]) -> None:
    """Write the PDF of each language.

    Raises:
        Stop: no page of that name, no browser, no Chinese font, or no built site.
    """
    chosen = {language: pages(language, parts) for language in languages}
    for language, names in chosen.items():
        if not names:
            known = ", ".join(pages(language))
            raise Stop(f"no page has any of {', '.join(parts)} in its path; there are {known}")
    path = find_browser()
    from playwright.sync_api import sync_playwright

    with ExitStack() as stack:
        handler = functools.partial(QuietHandler, directory=HTML)
        server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        stack.callback(browser.close)
        if not browser.new_page().evaluate(HAS_CHINESE):
            raise Stop("the browser finds no Chinese font; Debian, Ubuntu: fonts-noto-cjk")
        PDF.mkdir(parents=True, exist_ok=True)
        for language, names in chosen.items():
            base = f"http://127.0.0.1:{server.server_port}"
            writer = join(print_pages(language, names, base, browser), language)
            target = PDF / f"step_llm.{language}.pdf"
            partial = target.with_suffix(".partial")
            writer.write(partial)
            os.replace(partial, target)
            size = target.stat().st_size / 1e6
            print(f"{target.relative_to(ROOT)}: {len(writer.pages)} pages, {size:.1f} MB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("languages", nargs="*", help="en, zh; default: both")
    parser.add_argument(
        "--only", nargs="+", default=(), metavar="PART", help="parts of pages' paths"
    )
    options = parser.parse_args()
    unknown = set(options.languages) - set(NAMES)
    if unknown:
        parser.error(f"languages are {', '.join(NAMES)}, not {', '.join(sorted(unknown))}")
    try:
        make(options.languages or list(NAMES), tuple(options.only))
    except Stop as stop:
        print(f"pdf: {stop}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
