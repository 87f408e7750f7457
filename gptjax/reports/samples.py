"""A page of answers side by side: what each system says to the same prompts, and what it earns.

    systems = {"sft": [Sample("jar fox", {"gold": 0.5})], "ppo": [Sample("fox jar", {"gold": 1.0})]}
    write_samples("samples.html", [(Message("user", "copy: fox jar"),)], systems, title="instruct")

The page is one file that needs no other, and no script. All that a model or a user wrote is text
on it, whatever markup it holds.
"""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence

from gptjax.atomic_files import write_text
from gptjax.data.dialogue.chat_format import Conversation
from gptjax.reports.page import escaped, html_page


@dataclasses.dataclass(frozen=True)
class Sample:
    """Answer of a system to a prompt.

    Attributes:
      text: the answer.
      rewards: what it earned, by name; the first decides which answer is marked as the best.
      finished: whether its turn was ended.
    """

    text: str
    rewards: Mapping[str, float] = dataclasses.field(default_factory=dict)
    finished: bool = True


def write_samples(
    path: str | os.PathLike[str],
    prompts: Sequence[Conversation],
    systems: Mapping[str, Sequence[Sample]],
    *,
    title: str,
    note: str = "",
) -> None:
    """Writes `samples_page` of the same arguments to `path`."""
    write_text(path, samples_page(prompts, systems, title=title, note=note))


def samples_page(
    prompts: Sequence[Conversation],
    systems: Mapping[str, Sequence[Sample]],
    *,
    title: str,
    note: str = "",
) -> str:
    """The HTML of a page: mean rewards of each system, then prompt after prompt.

    Args:
      prompts: what was answered.
      systems: by name, in the order of the page, an answer to each prompt.
      title: of the page.
      note: a line below it, such as the commands that made the answers.

    Raises:
      ValueError: a system without an answer to each prompt.
    """
    for name, samples in systems.items():
        if len(samples) != len(prompts):
            raise ValueError(
                f"samples of {name!r}: got {len(samples)}, expected {len(prompts)}, one for each "
                "prompt"
            )
    body = [
        *([f"<p>{escaped(note)}</p>"] if note else []),
        *_means(systems),
    ]
    for number, prompt in enumerate(prompts):
        answers = {name: samples[number] for name, samples in systems.items()}
        body += _section(number, prompt, answers)
    return html_page(title, body)


def _means(systems: Mapping[str, Sequence[Sample]]) -> Iterator[str]:
    """A table of mean rewards, where there are rewards; a system without one has an empty cell."""
    names = dict.fromkeys(
        reward for samples in systems.values() for one in samples for reward in one.rewards
    )
    if not names:
        return
    yield (
        "<table><tr><th>mean</th>"
        + "".join(f"<th>{escaped(name)}</th>" for name in names)
        + "</tr>"
    )
    for system, samples in systems.items():
        cells = []
        for name in names:
            given = [sample.rewards[name] for sample in samples if name in sample.rewards]
            cells.append(f"<td>{sum(given) / len(given):.3f}</td>" if given else "<td></td>")
        yield f"<tr><td>{escaped(system)}</td>{''.join(cells)}</tr>"
    yield "</table>"


def _section(number: int, prompt: Conversation, answers: Mapping[str, Sample]) -> Iterator[str]:
    """One prompt and its answers."""
    firsts = {name: next(iter(s.rewards.values()), None) for name, s in answers.items()}
    given = [first for first in firsts.values() if first is not None]
    best = max(given) if len(set(given)) > 1 else None
    yield f"<section><h2>prompt {number + 1}</h2>"
    for message in prompt:
        role = f'<span class="role">{escaped(message.role)}</span>'
        yield f'<div class="prompt">{role}{escaped(message.content)}</div>'
    yield '<div class="answers">'
    for name, sample in answers.items():
        mark = ' class="best"' if best is not None and firsts[name] == best else ""
        yield f'<article{mark}><p class="system">{escaped(name)}</p>'
        yield f'<div class="answer">{escaped(sample.text)}</div>'
        if not sample.text.strip():
            yield '<span class="nothing">nothing</span>'
        if not sample.finished:
            yield '<span class="nothing">cut off: the turn was not ended</span>'
        if sample.rewards:
            parts = (f"{escaped(key)} {value:.3f}" for key, value in sample.rewards.items())
            yield f'<p class="rewards">{" &middot; ".join(parts)}</p>'
        yield "</article>"
    yield "</div></section>"
