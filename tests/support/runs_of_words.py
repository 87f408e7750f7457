"""Words as GPT-3's appendix C has them, made string by string."""


def words_of(text):
    """The paper's normalisation, for the letters of these tests."""
    kept = "".join(c if c.isalnum() or c.isspace() else "" for c in text.lower())
    return kept.split()


def ngrams(text, length):
    words = words_of(text)
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
