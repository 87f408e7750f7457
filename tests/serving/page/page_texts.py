"""Texts that the stub's models write, and their tokens."""

import re

ATTACK = """Look: <script>window.ran = 'script'</script> <img src=x onerror="window.ran='img'">
[click](javascript:window.ran='link') [data](data:text/html,<script>window.ran=1</script>)
<javascript:window.ran='auto'> [vb](vbscript:x) ![pic](javascript:window.ran='image')

```html
<script>window.ran = 'fence'</script><img src=x onerror="window.ran='fence'">
```

| <b>a</b> | b |
|---|---|
| <svg onload="window.ran='svg'"> | `<i>` |

[good](https://example.org/a) and https://example.org/b."""
MARKDOWN = """## A plan in three steps

A model draws **one token at a time**. Each is drawn from the *probabilities* of all tokens.

1. Read the prompt
2. Score every token
   - the likely ones
   - and the others
3. Draw, append, repeat

> What was drawn cannot be taken back, but you can choose another token.

```python
for _ in range(max_tokens):
    token = draw(softmax(logits[-1] / temperature))
```

| policy | temperature | calls |
|:--|--:|:-:|
| greedy | 0 | 1 |
| sampled | 0.7 | 1 |

See `docs/inference.md`."""
PROSE_OF_OTHERS = (  # of the wide model, and of searches
    "I write from left to right. Each word leans on all the words before it, and on nothing else.",
    "I read what you wrote, score every token, and take one. Then I do it again, until I am done.",
)
PROSE = (
    "A language model gives every token a probability, draws one, and reads the longer text again."
    " So a reply is a path through a tree: at each step there were other ways to go on, some nearly"
    " as likely as the one that was taken. The tree is what a researcher wants to see."
)


def split(text: str) -> list[bytes]:
    """Tokens: words with their space; an emoji is cut in two, as byte-level BPE does."""
    words = re.findall(r"\s*[^\s\U0001F300-\U0001FAFF]+|\s*[\U0001F300-\U0001FAFF]|\s+", text)
    tokens = []
    for word in (word.encode() for word in words):
        if len(word.strip()) == 4 and word.strip()[0] == 0xF0:
            tokens += [word[:-2], word[-2:]]
        else:
            tokens.append(word)
    return tokens
