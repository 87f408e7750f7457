"""Filters of one request: they judge what goes in before a model reads it, and what comes out.

    screen = Screen(models.filters)
    conversation = await screen.conversation(conversation)    # None: it is refused
    async for index, piece, ended in screen.pieces(writing): ...
    screen.decisions                                          # as the answer says them

Judges may run a model: they work in a thread. A reply that a filter stops has the finish reason
`content_filter`; one that it has touched comes without log-probabilities, which would spell it out.
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from typing import Any

from gptjax.chat.filters.chain import FilterChain, moderation_of
from gptjax.chat.filters.decision import INPUT, OUTPUT, Judged
from gptjax.data.dialogue.chat_format import Conversation, Message
from gptjax.serving.generation import Chosen, Writing

FILTERED = "content_filter"


class Screen:
    """The filters of a server, and what they have decided of one request.

    Attributes:
      decisions: JSON values, in their order.
      stopped: numbers of the replies that a filter has ended.
      touched: numbers of those of which it has decided anything.
    """

    def __init__(self, chain: FilterChain | None, first: int = 0):
        """`chain`: of the server; None: all passes. `first`: number of the first reply."""
        self._chain, self._first = chain or FilterChain(), first
        self.decisions: list[Any] = []
        self.stopped: set[int] = set()
        self.touched: set[int] = set()

    async def texts(self, texts: Sequence[str]) -> list[str] | None:
        """What is left of texts that go in; None where one is refused."""
        if not self._chain.of(INPUT):
            return list(texts)
        left = []
        for text in texts:
            judged = await asyncio.to_thread(self._chain.judge, text, INPUT)
            self.decisions += moderation_of(judged.decisions)
            if judged.stopped:
                return None
            left.append(judged.text)
        return left

    async def conversation(self, messages: Conversation) -> Conversation | None:
        """What is left of a conversation that goes in; None where it is refused.

        No filter sees pictures. Those of a message whose text was changed stand before it.
        """
        texts = await self.texts([message.content for message in messages])
        if texts is None:
            return None
        pairs = zip(messages, texts, strict=True)
        return tuple(_with_text(message, text) for message, text in pairs)

    async def replies(self, replies: Sequence[Chosen]) -> list[Chosen]:
        """What is left of whole replies."""
        if not self._chain.of(OUTPUT):
            return list(replies)
        left = []
        for index, reply in enumerate(replies):
            judged = await asyncio.to_thread(self._chain.judge, reply.text, OUTPUT)
            self._note(index, judged)
            left.append(self.ended(index, dataclasses.replace(reply, text=judged.text)))
        return left

    async def pieces(self, writing: Writing) -> AsyncIterator[tuple[int, str, bool]]:
        """The pieces of replies as they may be shown; a reply that is stopped ends there."""
        if not self._chain.of(OUTPUT):
            async for item in writing.pieces():
                yield item
            return
        streams = [self._chain.stream() for _ in writing.drafts]
        async for index, piece, ended in writing.pieces():
            if index in self.stopped:
                continue
            judged = await asyncio.to_thread(streams[index].push, piece)
            self._note(index, judged)
            text, stopped = judged.text, judged.stopped
            if ended and not stopped:
                judged = await asyncio.to_thread(streams[index].finish)
                self._note(index, judged)
                text, stopped = text + judged.text, judged.stopped
            if stopped:
                writing.drafts[index].cancel()
            yield index, text, ended or stopped

    def ended(self, index: int, reply: Chosen) -> Chosen:
        """A reply with the reason for which a filter ended it, if one did."""
        if index not in self.touched:
            return reply
        reason = FILTERED if index in self.stopped else reply.reason
        return dataclasses.replace(reply, reason=reason, count=0, scored=False)

    def _note(self, index: int, judged: Judged) -> None:
        self.decisions += moderation_of(judged.decisions, self._first + index)
        if judged.decisions:
            self.touched.add(index)
        if judged.stopped:
            self.stopped.add(index)


def _with_text(message: Message, text: str) -> Message:
    if text == message.content:
        return message
    return Message(message.role, text, tuple((0, picture) for _, picture in message.pictures))
