"""Write the novels of this folder from the R package that carries them.

    apt-get download r-cran-janeaustenr && dpkg -x r-cran-janeaustenr_*.deb unpacked
    pip install rdata
    python data/novels/extract.py unpacked/usr/lib/R/site-library/janeaustenr/data

The package keeps each novel as a vector of lines. They are written as they are.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import rdata

HERE = Path(__file__).resolve().parent
NOVELS = {"pride_and_prejudice": "prideprejudice", "emma": "emma"}


def main(folder: Path) -> None:
    index = rdata.read_rds(folder / "Rdata.rdx")["variables"]
    contents = (folder / "Rdata.rdb").read_bytes()
    for name, variable in NOVELS.items():
        start, size = index[variable]
        # Four bytes with the length of what follows, which is compressed.
        value = rdata.parser.parse_data(zlib.decompress(contents[start + 4 : start + size]))
        lines = rdata.conversion.convert(value)
        (HERE / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
