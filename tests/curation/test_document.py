"""Documents of the data engine."""

import hashlib

from gptjax.curation.document import Document


def test_the_key_is_a_hash_of_source_and_id_alone():
    document = Document("a.txt", "text", "books")
    assert document.key == hashlib.sha256(b"books\0a.txt").digest()[:16]
    assert document.key == Document("a.txt", "other text", "books", "MIT", {"url": "x"}).key
    assert document.key != Document("a.txt", "text", "book").key
