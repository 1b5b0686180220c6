"""Take data/reviews/reviews.tsv out of the source distribution of vaderSentiment.

    pip download --no-deps --no-binary :all: vaderSentiment==3.3.2
    python data/make_reviews.py vaderSentiment-3.3.2.tar.gz            write the file
    python data/make_reviews.py vaderSentiment-3.3.2.tar.gz --check    compare, and write nothing

In the distribution lies an archive, and in this the rated sentences of reviews. Of the lines, the
ends alone are changed: \\n instead of \\r\\n, and one after the last line, which has none.
"""

from __future__ import annotations

import argparse
import io
import sys
import tarfile
from pathlib import Path

FILE = Path(__file__).resolve().parent / "reviews" / "reviews.tsv"
ARCHIVE = "additional_resources/hutto_ICWSM_2014.tar.gz"
MEMBER = "amazonReviewSnippets_GroundTruth.txt"


def extract(distribution: Path) -> bytes:
    """The lines of the rated reviews.

    Raises:
        ValueError: a distribution in which they are not.
    """
    inner = _member(distribution.read_bytes(), ARCHIVE, distribution.name)
    content = _member(inner, MEMBER, ARCHIVE)
    return content.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"


def _member(content, ending, name):
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            found = [one for one in archive if one.isfile() and one.name.endswith(f"/{ending}")]
            if len(found) == 1:
                return archive.extractfile(found[0]).read()
    except tarfile.TarError as error:
        raise ValueError(f"{name} is no archive: {error}") from error
    raise ValueError(f"{name} holds {len(found)} files {ending}; expected one")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("distribution", type=Path, help="vaderSentiment-3.3.2.tar.gz")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    options = parser.parse_args()
    try:
        lines = extract(options.distribution)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    if not options.check:
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_bytes(lines)
    elif FILE.read_bytes() != lines:
        print(f"{FILE.name} differs from what {options.distribution.name} holds", file=sys.stderr)
        return 1
    print(f"{FILE.name}: {lines.count(10):,} sentences")
    return 0


if __name__ == "__main__":
    sys.exit(main())
