"""What people may say of replies, as the bodies that the page sends.

store.add(ranked_replies(ranking("Why?", {"a": 1, "b": 2})))
"""


def prompt(text):
    return [{"role": "user", "content": text}]


def reply(text, model="sft", policy=""):
    return {"text": text, "model": model, "policy": policy}


def ranking(asked, ranks, models=("sft", "ppo"), **others):
    """Replies by their texts, each with its rank; models take turns."""
    replies = [reply(text, models[i % len(models)]) for i, text in enumerate(ranks)]
    return {"prompt": prompt(asked), "replies": replies, "ranks": [*ranks.values()], **others}


def thumb(asked, text, vote, labeller=None):
    return {"prompt": prompt(asked), "reply": reply(text), "vote": vote, "labeller": labeller}


def talk(*texts, **others):
    """A conversation of a user and an assistant in turn."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    return {"messages": messages, "model": "sft", **others}
