"""Made documents that rules of different projects are compared on: prose, lists, copies, oddities.

texts = rule_documents()     # {"prose 0": "...", ...}, the same in every process
"""

import random
from collections.abc import Callable

_COMMON = (
    "the be to of and that have with a in it for not on he as you do at this but his by from they "
    "we say her she or an will my one all would there their what so up out if about who get which "
    "go me when make can like time no just him know take people into year your good some could "
    "them see other than then now look only come its over think also back after use two how our "
    "work first well way even new want because any these give day most us river mountain letter "
    "window question government children morning language history thirty-two Monday London email"
)
_WORDS = _COMMON.split()
_ENDS = (".", ".", ".", "!", "?", '."', "...", "…", ",", "", ":", ".'")


def _sentence(draw: random.Random, words: int) -> str:
    chosen = draw.choices(_WORDS, k=words)
    for place in range(1, words - 1):
        if draw.random() < 0.08:
            chosen[place] += ","
        elif draw.random() < 0.02:
            chosen[place] = draw.choice(
                ("don't", "it's", "3.14", "U.S.", "#1", "(see", "e.g.", "—")
            )
    return chosen[0].capitalize() + " " + " ".join(chosen[1:])


def _prose(draw: random.Random, lines: int, ends: tuple[str, ...]) -> str:
    made = []
    for _ in range(lines):
        line = " ".join(
            _sentence(draw, draw.randint(4, 14)) + draw.choice(ends)
            for _ in range(draw.randint(1, 4))
        )
        made.append(line)
        if draw.random() < 0.3:
            made.append("")
    return "\n".join(made)


def _copied(draw: random.Random, share: float) -> str:
    lines = _prose(draw, 12, (".",)).split("\n")
    for place in range(1, len(lines)):
        if draw.random() < share:
            lines[place] = lines[draw.randrange(place)]
    return "\n".join(lines)


def _phrases(draw: random.Random, words: int, of_a_phrase: int) -> str:
    phrase = draw.choices(_WORDS, k=of_a_phrase)
    text: list[str] = []
    while len(text) < words:
        text += phrase if draw.random() < 0.3 else draw.choices(_WORDS, k=draw.randint(2, 9))
    return " ".join(text) + "."


_MADE_BY_HAND = {
    "one word": "word",
    "white space": " \n\n \t\n",
    "line feeds at both ends": "\n\n\nThe first line of it.\n\n\n\nThe last line of it.\n\n",
    "carriage returns": "The first line ends.\r\nThe second one does.\rAnd so does the third.\n"
    * 4,
    "other line ends": "One\x0btwo\x0cthree\x1cfour\x85five\u2028six seven eight.\n" * 9,
    "bullets": "".join(f"• item number {i} of the list that we have\n" for i in range(30)),
    "dashes": "".join(f" - item number {i} of the list that we have\n" for i in range(30)),
    "stars": "".join(f"* item number {i} of the list that we have\n" for i in range(30)),
    "round bullets": "".join(f"  ● item {i} of the list that we have\n" for i in range(30)),
    "ellipses": "".join(f"It goes on and on with {i} of that...\n" for i in range(20)),
    "one-character ellipses": "".join(f"It goes on with {i} of that… \n" for i in range(20)),
    "read more": "".join(f"There is one with {i} of that read more\n" for i in range(20)),
    "hashes": "the #tag and #one of #two that #we have #with us # ### " * 20,
    "words that are hashes": "the # ## ### and #a ##b of that we have with ###### us " * 12,
    "symbols": "the — “ ” ! ? ; and ( ) / % of — — that … ... !!! ??? " * 12,
    "numbers": "12 13,000 3.14 the 1999 2,5 of 7:30 10-20 and 5% 1 2 3 4 5 6 that " * 12,
    "no stop words": " ".join(f"word{i} stands here alone" for i in range(40)),
    "one stop word": "the " + " ".join(f"word{i} stands here alone" for i in range(40)),
    "capital stop words": "The Be To Of And That Have With is was are were " * 20,
    "short words": "a b c d e f g h i j k l m n o p q the be to of and " * 12,
    "long words": "incomprehensibilities characteristically the of " * 30,
    "a word above a thousand": "It is long:\n"
    + "x" * 1001
    + " is it.\nThat is all that we have.\n" * 6,
    "javascript": "Please enable JavaScript to see the page.\n"
    + "We have that with the rest.\n" * 6,
    "policy": "Read our Privacy Policy to know.\nIt uses cookies to work.\n"
    + "It is so now.\n" * 6,
    "lorem ipsum": "Lorem ipsum dolor sit amet.\n" + "We have that with the rest.\n" * 6,
    "lorem ipsum in a line that goes": "lorem ipsum dolor\n" + "We have that with the rest.\n" * 6,
    "curly bracket": "if (x) { return it; }.\n" + "We have that with the rest.\n" * 6,
    "curly bracket in a line that goes": "if x { return }\n" + "We have that with all.\n" * 6,
    "citations": "It is so.[1] We know [edit] that.[citation needed]\nAnd more[23].\n" * 4,
    "quotes": "He said \"it is so.\"\nShe said 'it is not.'\nThey said “that is all.”\n" * 3,
    "five sentences in a line": "It is. We are. They have. You do. He goes to the end of it.",
    "four sentences": "It is so. We are so?! They have it (all). “You do.”",
    "sentences without spaces": "It is so.We are so.They have it.You do it.He goes on.",
    "abbreviations": "Mr. A. Smith of the U.S. has e.g. that. Dr. B. i.e. with it. No. 5 it is.",
    "short lines": "".join(f"the line {i}\n" for i in range(40)),
    "copies of a line": "This is a line that comes again and again in the text.\n" * 8,
    "copies of a paragraph": "This is a paragraph\nof two lines.\n\n" * 5
    + "And one more of these.\n",
    "three line feeds": "First one.\n\n\nSecond one.\n\n\n\n\nFirst one.\n\n\nThird one.",
    "one word again": "word " * 60,
    "two words again": "of the " * 50,
    "words that join alike": "ab c a bc ab c a bc abc ab c d e f a bc d e f " * 6,
    "cyrillic": "Это предложение на русском языке. Оно не слишком длинное, но и не короткое. " * 8,
    "chinese": "這是一個中文句子。它沒有空格。這是一個中文句子。" * 10,
    "accents": "Élève à l'école où l'été était très agréable; voilà! Ça va être déjà vu. " * 9,
    "emoji": "We have that 😀 with the 😀😀 of it 👍🏽 and 🇬🇧 to see. " * 10,
    "urls": "See https://www.example.com/a/b?c=d&e=f and www.example.org/x or a@b.org of that. "
    * 8,
    "table": "".join(f"{i} | {i * i} | {i * 7 % 5} | the\n" for i in range(40)),
    "rows of marks": "----- ---- ------ --- ===== *** ... .. . .... of the and to " * 9,
}


def rule_documents() -> dict[str, str]:
    """Texts by name."""
    draw = random.Random(15)
    made = dict(_MADE_BY_HAND)
    for number in range(8):
        made[f"prose {number}"] = _prose(draw, draw.randint(4, 25), _ENDS)
        made[f"ended prose {number}"] = _prose(draw, draw.randint(4, 25), (".", "!", "?"))
        made[f"copied lines {number}"] = _copied(draw, 0.05 + number * 0.1)
        made[f"phrases {number}"] = _phrases(draw, 60 + 40 * number, 2 + number)
    return made


def on_every_document(check: Callable[[str], None]) -> Callable[[], None]:
    """One test of all documents, which names the one that fails."""

    def test() -> None:
        for name in rule_documents():
            try:
                check(name)
            except AssertionError as error:
                raise AssertionError(f"{name}: {error}") from error

    test.__name__, test.__doc__ = check.__name__, check.__doc__
    return test
