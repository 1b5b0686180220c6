// A box that scrolls is reached by the keyboard, also where the browser does not see to it.
function markBoxes() {
  for (const box of document.querySelectorAll("article pre, .table-wrapper, .cell_output, div.formula")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
addEventListener("load", markBoxes);
addEventListener("resize", markBoxes);
