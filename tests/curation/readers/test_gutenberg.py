"""Books of Project Gutenberg: a made one in its forms, and nine of the sample data."""

import pytest

from gptjax.curation.readers.faults import Faults
from gptjax.curation.readers.gutenberg import LICENCE
from gptjax.curation.readers.registered import READERS, ReaderOptions, documents, found

HEADER = (
    "\ufeffThe Project Gutenberg EBook of A Tale, by A. Writer\n\n"
    "Title: A Tale\n\nAuthor: A. Writer\n\nLanguage: English\n\n"
)
BODY = (
    "A TALE\n\nIt began — and it ended.\n\n*** A line of stars ***\n\nProduced by hand, he said.\n"
)
FORMS = {
    "today's": (
        "*** START OF THE PROJECT GUTENBERG EBOOK A TALE ***\n\n",
        "*** END OF THE PROJECT GUTENBERG EBOOK A TALE ***\n\nLicence\n",
    ),
    "with credits": (
        "*** START OF THIS PROJECT GUTENBERG EBOOK A TALE ***\n\n\n"
        "Produced by X and\nthe Team\n\n\n",
        "End of the Project Gutenberg EBook of A Tale\n\n"
        "*** END OF THIS PROJECT GUTENBERG EBOOK A TALE ***\n",
    ),
    "two lines": (
        "***START OF THE PROJECT GUTENBERG EBOOK A\nTALE***\n\n",
        "***END OF THE PROJECT GUTENBERG EBOOK A TALE***\n",
    ),
    "small print": (
        "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n",
        "End of Project Gutenberg's A Tale, by A. Writer\n",
    ),
}


def read(tmp_path, content):
    (tmp_path / "tale.txt").write_bytes(content)
    faults = Faults()
    (file,) = found("gutenberg", str(tmp_path))
    kept = list(READERS.get("gutenberg").read(file, ReaderOptions(source="books"), faults))
    return kept, faults


@pytest.mark.parametrize("form", FORMS)
def test_header_and_footer_are_cut(tmp_path, form):
    start, end = FORMS[form]
    text = f"{HEADER}{start}{BODY}\n\n\n{end}".replace("\n", "\r\n")
    (book,), faults = read(tmp_path, text.encode())
    assert book.text == BODY and not faults.counts
    assert book.metadata == {"title": "A Tale", "author": "A. Writer", "language": "English"}
    assert (book.id, book.licence) == ("tale.txt", LICENCE)


def test_the_header_says_how_it_is_written(tmp_path):
    start, end = FORMS["today's"]
    text = f"{HEADER[1:]}Character set encoding: ISO-8859-1\n\n{start}Él vivía.\n{end}"
    (book,), _ = read(tmp_path, text.encode("latin-1"))
    assert book.text == "Él vivía.\n"


def test_what_has_no_marks_is_a_fault(tmp_path):
    for text in ("A plain text.\n", HEADER + FORMS["today's"][0] + BODY):
        kept, faults = read(tmp_path, text.encode())
        assert kept == [] and faults.counts == {"no_marks": 1}


def test_nine_books(shared_data):
    faults = Faults()
    location = str(shared_data / "gutenberg")
    books = {
        document.id.split("/")[0]: document.text
        for document in documents("gutenberg", location, ReaderOptions(source="x"), faults)
    }
    assert len(books) == 9 and faults.counts == {"no_marks": 9}  # the notes on where they are from
    for name, text in books.items():
        assert "Gutenberg License" not in text and "www.gutenberg" not in text, name
        assert "\r" not in text and len(text) > 100_000
    assert books["pride"].startswith("PRIDE AND PREJUDICE\n\nBy Jane Austen")
    assert books["pride"].endswith("the means of uniting them.\n")
    assert books["botchan"].startswith("BOTCHAN (MASTER DARLING)\n")
    assert books["moby"].endswith("only found another orphan.\n")
