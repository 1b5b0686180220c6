"""What the site adds to Sphinx's pages: switch of language, a lesson's links, a Chinese search."""

from __future__ import annotations

import html
import importlib.util
import logging
import re
from pathlib import Path

import jieba
from fontTools import subset
from fontTools.ttLib import TTFont
from sphinx.search.zh import SearchChinese

ROOT = Path(__file__).resolve().parent.parent


def _tool():
    # Not by its name: Python has a module `site` of its own.
    spec = importlib.util.spec_from_file_location("course_site", ROOT / "tools" / "site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = _tool()


def add_links(app, pagename, templatename, context, doctree):
    """For the template page.html: the other language's page, and where a notebook can be opened."""
    is_chinese = app.config.language == "zh_CN"
    language, other = ("zh", "en") if is_chinese else ("en", "zh")
    known = tool.settings()
    pages = {page.rsplit(".", 1)[0]: page for page in (*tool.PAGES, *tool.notebooks())}
    page = pages.get(pagename, "")
    source = tool.source_of(page, language) if page else ""
    is_notebook = page.endswith(".ipynb")
    context.update(
        other_language=f"{context['content_root']}../{other}/{pagename}.html",
        is_chinese=is_chinese,
        edit_address=tool.file_address(source, "edit", known) if page else "",
        download=f"{context['content_root']}download/{page}" if is_notebook else "",
        launch=tool.launch_addresses(source, known) if is_notebook else {},
    )


class Chinese(SearchChinese):
    """Words cut by jieba, which learns the glossary's terms first; the browser cuts a question.

    Sphinx's own splitter takes a run of characters for one word. The browser has no jieba; it takes
    the longest word of the index that a run begins with, then goes on behind it.
    """

    js_splitter_code = """
function splitQuery(query) {
  const known = new Set([...Object.keys(Search._index?.terms ?? {}),
                         ...Object.keys(Search._index?.titleterms ?? {})]);
  const found = [];
  for (const run of query.split(/[^\\p{Letter}\\p{Number}_]+/u).filter(Boolean)) {
    for (const part of run.match(/\\p{Script=Han}+|[^\\p{Script=Han}]+/gu)) {
      if (!/\\p{Script=Han}/u.test(part)) { found.push(part); continue; }
      for (let at = 0; at < part.length;) {
        let end = Math.min(part.length, at + 10);
        while (end > at + 1 && !known.has(part.slice(at, end))) end--;
        if (end > at + 1 || part.length === 1) found.push(part.slice(at, end));
        at = end;
      }
    }
  }
  return found.length ? found : [query];
}
"""

    def __init__(self, options):
        jieba.setLogLevel(logging.WARNING)
        super().__init__(options)
        glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
        for term in re.findall(r"[一-鿿]{2,}", glossary):
            jieba.add_word(term)


def finish(app, exception):
    """The font of the formulas, cut down to what they use; it is wanted where a system has none."""
    if exception is not None:
        return
    import ziamath

    pages = Path(app.outdir).rglob("*.html")
    used = set()
    for page in pages:
        text = page.read_text(encoding="utf-8")
        # Sphinx gives the captions of the navigation the role of a heading, but no level.
        heading = 'class="caption" role="heading"'
        text = text.replace(heading, f'{heading} aria-level="2"')
        page.write_text(text, encoding="utf-8")
        for formula in re.findall(r"<math .*?</math>", text, re.DOTALL):
            used |= set(map(ord, html.unescape(re.sub(r"<[^>]+>", "", formula))))
    # An <mi> of one letter is drawn in mathematical italics; <msqrt> has a root that no text names.
    used |= {0x221A, *range(0x20, 0x7F), *range(0x1D434, 0x1D468), *range(0x1D6FC, 0x1D71C), 0x210E}
    options = subset.Options(flavor="woff2", layout_features=["*"], hinting=False)
    font = TTFont(Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf")
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    cut = subset.Subsetter(options)
    cut.populate(unicodes=used)
    cut.subset(font)
    font.flavor = "woff2"
    font.save(Path(app.outdir) / "_static" / "math.woff2")
