"""How Sphinx makes the site of build/site/source/{en,zh}; tools/site.py calls it."""

import sys
from pathlib import Path

SITE = Path(__file__).parent
sys.path.insert(0, str(SITE))
sys.path.insert(0, str(SITE.parent / "tools"))

import site_pages  # noqa: E402

IS_CHINESE = tags.has("zh")  # noqa: F821  # Sphinx puts it here
project = html_title = "step_llm"
language = "zh_CN" if IS_CHINESE else "en"
extensions = ["myst_nb", "sphinx_copybutton", "mathml"]
default_role = "literal"  # `x` in a docstring
# Lessons are shown as they were stored.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
# A frame in an output, or a lexer that stumbles over a prompt: nothing that a reader misses.
suppress_warnings = ["mystnb.unknown_mime_type", "misc.highlighting_failure"]

html_math_renderer = "mathml"
html_theme = "furo"
templates_path = ["_templates"]
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["course.css"]
html_js_files = ["course.js"]
extra = SITE.parent / "build" / "site" / "extra"
html_extra_path = [str(extra / ("zh" if IS_CHINESE else "en"))]
html_copy_source = html_show_sourcelink = False
html_show_copyright = False
# Light and dark with a contrast of 4.5 and more.
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
html_theme_options = {"top_of_page_buttons": []}
copybutton_selector = "div:not(.output) > div.highlight pre"
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True


def setup(app):
    app.connect("html-page-context", site_pages.add_links)
    app.add_search_language(site_pages.Chinese)
    app.connect("build-finished", site_pages.finish)
