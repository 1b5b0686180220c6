"""The course as a site, in English and Chinese: lessons with their stored outputs, docs, library.

    python tools/site.py              build both languages into build/site/html
    python tools/site.py --sources    only write what Sphinx reads, build/site/source/{en,zh}
    python tools/site.py --serve      build nothing; serve build/site/html at localhost:8000

A tree of sources mirrors the repository, so links between its pages stay as they are. In the
Chinese one, notebooks/zh/ stands where notebooks/ was, and x.zh-CN.md where x.md was; what is not
translated is there in English, with a note, so that each page has its counterpart. A link to a file
that is no page goes to the repository, if site/settings.ini names one; else its text remains. The
diagrams are the SVGs.

Runs in .venv-site (`make site`). No lesson is executed, and MindSpore is not needed: the reference
is read from the source by tools/site_reference.py.
"""

from __future__ import annotations

import argparse
import configparser
import functools
import http.server
import os
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from diagrams import in_markdown  # noqa: E402

SITE = ROOT / "site"
BUILD = ROOT / "build" / "site"
LANGUAGES = ("en", "zh")
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", *(f"docs/{name}.md" for name in (
    "benchmarks", "design", "devices", "glossary", "laptops", "openi", "own-lesson", "reliability",
    "results", "scaling", "serving", "site", "teachers", "using")))  # fmt: skip
WORDS = {
    "en": {
        "solutions": "Solutions",
        "untranslated": "",
    },
    "zh": {
        "solutions": "答案",
        "untranslated": "本页还没有中文版，以下是英文原文。",
    },
}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+(?:\([^()\s]*\)[^()\s]*)?)\)")
_CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)
# A line that leads to the other language: the site has a switch for that.
_SWITCH = re.compile(r"^\[(?:中文|English)\]\([^)]*\)\n+", re.MULTILINE)
# Lines of Markdown that no other is a part of, and what does not go on with the line before it.
_APART = re.compile(r"    |\s*(?:#|\||```|<|:::|\$\$)")
_BEGINS = re.compile(r"#|\||>|```|<|:::|\$\$|[-*+] |\d+[.)] ")
_MARK = "[，。；：、！？（）《》“”…]"


def settings() -> dict[str, str]:
    """site/settings.ini, and over it the environment."""
    file = configparser.ConfigParser()
    file.read(SITE / "settings.ini", encoding="utf-8")
    values = {
        key: os.environ.get(f"SITE_{key.upper()}", value) for key, value in file["site"].items()
    }
    return {key: value.rstrip("/").removesuffix(".git") for key, value in values.items()}


def file_address(path: str, action: str, known: dict[str, str]) -> str:
    """Where a file of the repository is shown (action "blob") or edited ("edit"); "" for nowhere.

    The forms are those of GitHub, which Gitee has too; AtomGit's pages have a button for editing.
    """
    repository, branch = known["repository"], known["branch"]
    if not repository:
        return ""
    if action == "edit" and not re.match(r"https://(github|gitee)\.com/", repository):
        action = "blob"
    return f"{repository}/{action}/{branch}/{path}"


def launch_addresses(path: str, known: dict[str, str]) -> dict[str, str]:
    """Names and addresses of the places where a notebook of the repository can be opened.

    Colab opens files of GitHub. On OpenI the page of a notebook has a button that runs it.
    ModelScope has no address that could be formed: a notebook is uploaded there.
    """
    found, branch = {}, known["branch"]
    if known["repository"].startswith("https://github.com/"):
        name = known["repository"].removeprefix("https://github.com/")
        colab = "https://colab.research.google.com/github"
        found["Colab"] = f"{colab}/{name}/blob/{branch}/{path}"
    if known["openi"]:
        found["OpenI"] = f"{known['openi']}/src/branch/{branch}/{path}"
    return found


# ------------------------------------------------------------------------------ what is a page


def notebooks() -> list[str]:
    """Lessons and solutions by their paths in the repository; the lessons first."""
    folder = ROOT / "notebooks"
    paths = [*sorted(folder.glob("*.ipynb")), *sorted(folder.glob("solutions/*.ipynb"))]
    return [path.relative_to(ROOT).as_posix() for path in paths]


def source_of(page: str, language: str) -> str:
    """The file of the repository that a page is made of; the English one if there is no other."""
    stem, ending = posixpath.splitext(page)
    own = page.replace("notebooks/", "notebooks/zh/", 1) if ending == ".ipynb" else ""
    if page.startswith("notebooks/figures/"):
        own = page.replace("notebooks/", "notebooks/zh/", 1)
    own = own or f"{stem}.zh-CN{ending}"
    return own if language == "zh" and (ROOT / own).exists() else page


def page_of(source: str) -> str:
    """The page that a file of the repository would be made into."""
    return source.replace("notebooks/zh/", "notebooks/", 1).replace(".zh-CN.", ".", 1)


def relinked(text: str, page: str, source: str, known: dict[str, str]) -> tuple[str, set[str]]:
    """Markdown whose links lead to pages of the site, or to the repository; the images it needs.

    Raises:
        ValueError: a link to a file that is not there.
    """
    pages, images = {*PAGES, *notebooks()}, set()

    def one(match):
        mark, words, link = match.groups()
        if re.match(r"\w+:|#", link):
            return match.group()
        file, hash_, place = link.partition("#")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), file))
        there = page_of(target)
        if mark:
            images.add(there)
        elif there not in pages:
            if not (ROOT / target).exists():
                raise ValueError(f"{source}: there is no {target}")
            address = file_address(target, "blob", known)
            return f"[{words}]({address})" if address else words
        return f"{mark}[{words}]({posixpath.relpath(there, posixpath.dirname(page))}{hash_}{place})"

    parts = _CODE.split(_SWITCH.sub("", text))
    # A link may have code for its text, so code in a line is hidden, not cut out.
    hidden = [part for part in parts if part.startswith("`")]
    text = "".join("\0" if part.startswith("`") else part for part in parts)
    text = _LINK.sub(one, in_markdown(text))
    return re.sub("\0", lambda _: hidden.pop(0), text), images


def unbroken(text: str) -> str:
    """Chinese Markdown without line breaks in its paragraphs: a browser would make spaces of them.

    Where a Chinese and another letter meet, the space is wanted; beside a Chinese mark it is not.
    """
    lines, is_code = [], False
    for line in text.split("\n"):
        before, words = lines[-1] if lines else "", line.strip()
        is_code ^= words.startswith("```")
        goes_on = before and words and not (is_code or _APART.match(before) or _BEGINS.match(words))
        if goes_on and re.fullmatch(_MARK + ".|." + _MARK + "|[一-鿿]{2}", before[-1] + words[0]):
            lines[-1] += words
        else:
            lines.append(line)
    return "\n".join(lines)


# ------------------------------------------------------------------------------ the tree of sources


def notebook_page(page: str, language: str, known: dict[str, str]):
    """A lesson as Sphinx reads it, and the images it needs."""
    source, images = source_of(page, language), set()
    notebook = nbformat.read(ROOT / source, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source, more = relinked(cell.source, page, source, known)
            if source != page:
                cell.source = unbroken(cell.source)
            images |= more
    if language == "zh" and source == page:
        note = f"```{{note}}\n{WORDS[language]['untranslated']}\n```"
        notebook.cells.insert(1, nbformat.v4.new_markdown_cell(note))
    return notebook, images


def write_sources(language: str) -> Path:
    """What Sphinx reads for one language."""
    from site_reference import write_reference

    tree, known, words = BUILD / "source" / language, settings(), WORDS[language]
    shutil.rmtree(tree, ignore_errors=True)
    images = set()
    for page in PAGES:
        source = source_of(page, language)
        text, more = relinked((ROOT / source).read_text(encoding="utf-8"), page, source, known)
        if source != page:
            text = unbroken(text)
        note = f"```{{note}}\n{words['untranslated']}\n```\n\n"
        if language == "zh" and source == page and page != "docs/glossary.md":
            heading, _, rest = text.partition("\n")
            text = f"{heading}\n\n{note}{rest}"
        _write(tree / page, text)
        images |= more
    for page in notebooks():
        notebook, more = notebook_page(page, language, known)
        images |= more
        _write(tree / page, nbformat.writes(notebook))
        # The file to be downloaded is the repository's own.
        target = BUILD / "extra" / language / "download" / page
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / source_of(page, language), target)
    for image in sorted(images):
        (tree / image).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / source_of(image, language), tree / image)
    lessons = [Path(page).stem for page in notebooks() if "/solutions/" not in page]
    index = (SITE / f"index.{language}.md").read_text(encoding="utf-8")
    _write(tree / "index.md", index.replace("{lessons}", _lines("notebooks/", lessons)))
    _write(
        tree / "notebooks" / "solutions" / "index.md",
        f"# {words['solutions']}\n\n```{{toctree}}\n{_lines('', lessons)}\n```\n",
    )
    write_reference(tree / "reference", language)
    return tree


def _lines(folder, names):
    return "\n".join(folder + name for name in names)


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


# ------------------------------------------------------------------------------ build and serve


def build(languages: list[str]) -> int:
    """Each language by one process of Sphinx, whose warnings are errors."""
    html = BUILD / "html"
    for language in languages:
        for part in ("html", "extra"):
            shutil.rmtree(BUILD / part / language, ignore_errors=True)
        tree = write_sources(language)
        doctrees = BUILD / "doctrees" / language
        status = subprocess.call([
            sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html",
            "-c", str(SITE), "-t", language, "-d", str(doctrees), str(tree), str(html / language),
        ])  # fmt: skip
        if status:
            return status
    shutil.rmtree(
        html / "jupyter_execute", ignore_errors=True
    )  # outputs, which the pages have by now
    shutil.copyfile(SITE / "choose.html", html / "index.html")
    (html / ".nojekyll").touch()  # GitHub Pages would leave out the folders _static and _images
    print(f"The site is in {html.relative_to(ROOT)}: python tools/site.py --serve")
    return 0


def serve() -> None:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=BUILD / "html")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 8000), handler) as server:
        print("http://localhost:8000, until Ctrl-C")
        server.serve_forever()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("languages", nargs="*", default=LANGUAGES, help="en, zh; default: both")
    parser.add_argument("--sources", action="store_true", help="only what Sphinx reads")
    parser.add_argument("--serve", action="store_true", help="show what was built")
    options = parser.parse_args()
    if options.serve:
        serve()
    elif options.sources:
        for language in options.languages:
            print(write_sources(language).relative_to(ROOT))
    else:
        return build(options.languages)
    return 0


if __name__ == "__main__":
    sys.exit(main())
