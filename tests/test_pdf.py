"""tools/pdf.py: which pages a PDF has, and how they are joined. `make test-site` tries printing."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.support.scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
tool = load_script(ROOT / "tools" / "pdf.py")
site = load_script(ROOT / "tools" / "site.py")


def test_a_pdf_has_every_page_of_the_course_in_the_order_of_its_index():
    english, chinese = tool.pages("en"), tool.pages("zh")
    assert set(english) == set(chinese)
    assert english[:2] == ["index", "notebooks/00_start_here"]
    notebooks = [page.removesuffix(".ipynb") for page in site.notebooks()]
    assert [page for page in english if page in notebooks] == notebooks
    assert english[len(notebooks) // 2 + 1] == "notebooks/solutions/index"
    last = english[english.index(notebooks[-1]) + 1 :]
    assert set(last) == {page.removesuffix(".md") for page in site.PAGES}
    assert len(set(english)) == len(english)


def test_some_pages_alone():
    assert tool.pages("en", ("02_attention", "glossary")) == [
        "notebooks/02_attention", "notebooks/solutions/02_attention", "docs/glossary",
    ]  # fmt: skip


def test_what_cannot_be_printed_is_said(monkeypatch, capsys):
    monkeypatch.setattr(tool.sys, "argv", ["pdf.py", "en", "--only", "13_"])
    assert tool.main() == 1
    assert "no page has any of 13_ in its path; there are index, notebooks/00" in (
        capsys.readouterr().err
    )
    monkeypatch.setattr(tool.sys, "argv", ["pdf.py", "de"])
    with pytest.raises(SystemExit):
        tool.main()
    assert "languages are en, zh, not de" in capsys.readouterr().err


def test_which_browser(monkeypatch):
    monkeypatch.setenv("CHROMIUM", "/opt/mine")
    assert tool.find_browser() == "/opt/mine"
    monkeypatch.delenv("CHROMIUM")
    monkeypatch.setattr(tool.shutil, "which", {"google-chrome": "/bin/google-chrome"}.get)
    assert tool.find_browser() == "/bin/google-chrome"
    monkeypatch.setattr(tool.shutil, "which", lambda name: None)
    with pytest.raises(tool.Stop, match=r"install one of chromium, .* CHROMIUM="):
        tool.find_browser()


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("http://127.0.0.1:4321/en/notebooks/02_attention.html", "en/notebooks/02_attention.html"),
        ("http://127.0.0.1:4321/en/docs/openi.html#4-device?", "en/docs/openi.html"),
        ("https://arxiv.org/abs/1706.03762", None),
        ("", None),
    ],
)
def test_an_address_of_the_printing(address, page):
    assert tool.page_of(address) == page


def test_pages_are_joined_and_their_links_stay_inside(tmp_path):
    """Two printed pages as a Chromium writes them: a named place, bookmarks, links by address."""
    pypdf = pytest.importorskip("pypdf", reason="requirements-browser.txt: make test-site has it")
    from pypdf import generic
    from pypdf.generic import ArrayObject, DictionaryObject, NameObject

    def link(**entries):
        box = ArrayObject(map(generic.NumberObject, (0, 0, 9, 9)))
        entries = {"Type": NameObject("/Annot"), "Subtype": NameObject("/Link"), **entries}
        return DictionaryObject({
            NameObject("/Rect"): box, **{NameObject(f"/{key}"): entries[key] for key in entries},
        })  # fmt: skip

    def to(address):
        return link(A=DictionaryObject({
            NameObject("/S"): NameObject("/URI"),
            NameObject("/URI"): generic.TextStringObject(address),
        }))  # fmt: skip

    printed = []
    for name, sheets in (("index", 1), ("notebooks/02_attention", 3)):
        writer = pypdf.PdfWriter()
        for _ in range(sheets):
            writer.add_blank_page(100, 100)
        last = writer.pages[-1].indirect_reference
        place = ArrayObject([last, NameObject("/XYZ"), *[generic.NullObject()] * 3])
        places = DictionaryObject({NameObject("/summary"): place})
        writer.root_object[NameObject("/Dests")] = writer._add_object(places)
        writer.add_outline_item(title=name, page_number=0)
        base = "http://127.0.0.1:4321/en"
        writer.pages[0][NameObject("/Annots")] = ArrayObject(
            map(writer._add_object, (
                link(Dest=NameObject("/summary")),
                to(f"{base}/notebooks/02_attention.html#summary"),
                to(f"{base}/reference/index.html"),
                to("https://arxiv.org/abs/1706.03762"),
            ))
        )  # fmt: skip
        sheets = io.BytesIO()
        writer.write(sheets)
        printed.append((name, sheets.getvalue()))
    file = tmp_path / "all.pdf"
    tool.join(printed, "en").write(file)

    joined = pypdf.PdfReader(file)
    assert len(joined.pages) == 4
    assert joined.metadata.title == tool.NAMES["en"]
    places = [(item.title, joined.get_destination_page_number(item)) for item in joined.outline]
    assert places == [("index", 0), ("notebooks/02_attention", 1)]
    for sheet, own_summary in ((0, 0), (1, 3)):
        links = [note.get_object() for note in joined.pages[sheet]["/Annots"]]
        leads = [
            joined.get_page_number(note["/Dest"][0].get_object()) if "/Dest" in note
            else note["/A"]["/URI"]
            for note in links
        ]  # fmt: skip
        assert leads == [own_summary, 1, "https://arxiv.org/abs/1706.03762"]
