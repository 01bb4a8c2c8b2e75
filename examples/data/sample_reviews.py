"""Writes `reviews.csv` from the data of VADER: `python examples/data/sample_reviews.py hutto_ICWSM_2014.tar.gz`.

The archive is inside the source distribution of vaderSentiment 3.3.2. Not concerned with what is learned from it.
"""

import csv
import io
import sys
import tarfile
from pathlib import Path

MEMBER = "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt"
CLEAR = 1.0  # the mean rating, from -4 to 4, of a sentence that is plainly good or bad


def main(archive: str) -> None:
    """Keeps the sentences that are plainly good or bad."""
    with tarfile.open(archive) as files:
        member = files.extractfile(MEMBER)
        assert member is not None
        lines = io.TextIOWrapper(member, encoding="utf-8", errors="replace").read().splitlines()
    with (Path(__file__).parent / "reviews.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["review", "sentence", "mood"])
        for name, rating, sentence in (line.split("\t") for line in lines):
            if abs(float(rating)) >= CLEAR:
                mood = "good" if float(rating) > 0 else "bad"
                writer.writerow([f"r{name.split('_')[0]}", " ".join(sentence.split()), mood])


if __name__ == "__main__":
    main(sys.argv[1])
