#!/usr/bin/env python3
"""Makes corpus.txt and chat.jsonl, byte for byte, from Debian's source package `snappy`.

Not run by the build or by CI: both results are committed. To run it again, on a Debian or Ubuntu
system with `deb-src` lines in its package sources:

    apt-get source --download-only snappy=1.1.9-3       # needs no compiler, only dpkg-dev
    ops/demo/make_corpus.py snappy_1.1.9.orig.tar.gz

The archive's `COPYING` says of the three texts taken: "from Project Gutenberg ... have expired
copyrights and are in the public domain". Python 3.9 or later, standard library only.
"""

import hashlib
import json
import pathlib
import re
import sys
import tarfile

ARCHIVE = "75c1fbb3d618dd3a0483bff0e26d0a92b495bbe5059c8b4f1c962b478b6e06e7"
HERE = pathlib.Path(__file__).resolve().parent
ALICE, PLAY, POEM = "Alice's Adventures in Wonderland", "As You Like It", "Paradise Lost"


def texts(archive):
    """The three works as lists of lines: no carriage returns, tabs as four blanks, no trailing blanks."""
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != ARCHIVE:
        sys.exit(f"{archive} is not snappy_1.1.9.orig.tar.gz: its SHA-256 is {digest}, not {ARCHIVE}")
    with tarfile.open(archive) as tar:
        for name in ("alice29", "asyoulik", "plrabn12"):
            data = tar.extractfile(f"snappy-1.1.9/testdata/{name}.txt").read().decode("ascii")
            # The DOS end-of-file mark of old transcriptions is no text.
            lines = [line.rstrip() for line in data.replace("\x1a", "").replace("\r", "").split("\n")]
            if name == "plrabn12":
                # What stands before the title is the transcribers' own introduction.
                lines = [line.removesuffix("***").rstrip() for line in lines[lines.index(POEM):]]
            yield [re.sub(r"\t+ *", "    ", line) for line in lines]


def paragraphs(lines):
    """Runs of lines between blank lines, each as a list of lines."""
    found = [[]]
    for line in lines:
        if line:
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [paragraph for paragraph in found if paragraph]


def corpus(works):
    """All works: paragraphs with exactly one blank line between them."""
    return "\n\n".join("\n".join(p) for work in works for p in paragraphs(work)) + "\n"


def prose(lines):
    """Halves of Alice's paragraphs, cut at the end of a sentence near the middle."""
    for paragraph in paragraphs(lines):
        text = " ".join(" ".join(paragraph).split())
        cuts = [m.end() for m in re.finditer(r"[.!?;:]['\")]*(?= )", text)]
        cuts = [cut for cut in cuts if 30 <= cut <= len(text) - 30]
        if cuts:
            cut = min(cuts, key=lambda at: abs(at - len(text) // 2))
            yield [("user", f"Continue from {ALICE}: {text[:cut]}"), ("assistant", text[cut:].strip())]


def verse(lines):
    """Eight lines of Paradise Lost at a time: four asked, four answered."""
    book, block = "", []
    for line in lines:
        title = re.fullmatch(r"Book ([IVX]+)", line)
        if title:
            book, block = title[1], []
        elif line and book and line != "[The End]":
            block.append(line.strip())
        if len(block) == 8:
            asked, answered = "\n".join(block[:4]), "\n".join(block[4:])
            yield [("user", f"Continue from {POEM}, Book {book}:\n{asked}"), ("assistant", answered)]
            block = []


def speeches(lines):
    """(speaker, words) of the play in order; None where a scene begins."""
    begun = False
    for paragraph in paragraphs(lines):
        head = paragraph[0]
        if head.startswith(("ACT ", "SCENE I")):
            begun = True
            yield None
        said = re.match(r"([A-Z][A-Z' ]+[A-Z])    (\S.*)", head)
        if begun and said and not head.startswith("SCENE"):
            words = [said[2], *(line.strip() for line in paragraph[1:] if not line.strip().startswith("["))]
            yield said[1].title(), "\n".join(words)


def dialogue(lines):
    """Each speech of the play as the answer to the one before it."""
    before = None
    for speech in speeches(lines):
        if before and speech and before[0] != speech[0]:
            yield [
                ("system", f"You are {speech[0]} in {PLAY}. {before[0]} speaks to you."),
                ("user", before[1]),
                ("assistant", speech[1]),
            ]
        before = speech


def main():
    """Writes both files beside this script and says how large they are."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    alice, play, poem = works = list(texts(pathlib.Path(sys.argv[1])))
    # Every second block of verse: all of them would be two thirds of the file.
    samples = [*prose(alice), *dialogue(play), *list(verse(poem))[::2]]
    chat = "".join(
        json.dumps({"messages": [{"role": role, "content": content} for role, content in sample]}) + "\n"
        for sample in samples
    )
    for name, text in (("corpus.txt", corpus(works)), ("chat.jsonl", chat)):
        (HERE / name).write_bytes(text.encode("ascii"))
        print(f"{name}: {len(text)} bytes, SHA-256 {hashlib.sha256(text.encode()).hexdigest()}")
    print(f"{len(samples)} chat samples")


if __name__ == "__main__":
    main()
