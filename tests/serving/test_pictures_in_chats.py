"""Pictures in conversations over HTTP: what is read, against the generator, and what is refused."""

import base64
import io

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
from PIL import Image
from starlette.testclient import TestClient

from gptjax.inference.sampling import make_sampler
from gptjax.serving.app import Options, make_app
from gptjax.serving.served import Limits, Models, Served
from tests.support.chat_models import chat_model, image_chat_model

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)


def encoded(picture: Image.Image, kind: str = "png") -> str:
    file = io.BytesIO()
    picture.save(file, kind)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def part(url: str, **more):
    return {"type": "image_url", "image_url": {"url": url, **more}}


SHOWN = [part(encoded(Image.fromarray(each))) for each in PIXELS]


def says(*parts):
    texts = ({"type": "text", "text": each} if isinstance(each, str) else each for each in parts)
    return {"role": "user", "content": list(texts)}


@pytest.fixture(scope="module")
def model():
    return image_chat_model(rankers={"first": lambda prompts, replies: np.zeros(len(replies))})


@pytest.fixture(scope="module")
def client(model):
    limits = Limits(pictures=2)
    served = [Served(model, limits), Served(chat_model("reads"), limits)]
    app = make_app(Models(served), Options(limits=limits))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


def answered(client, messages, **body):
    asked = {"messages": messages, "temperature": 0, "max_tokens": 6, **body}
    return client.post("/v1/chat/completions", json=asked)


def prompt(model, *parts) -> np.ndarray:
    """A turn of a user as tokens, written by hand; 0, 1, ... stand for images."""
    marks = model.tokenizer.special_tokens
    image = [marks["<image>"], *[marks["<|soft|>"]] * 3, marks["</image>"]]
    ids = [marks["<|user|>"]]
    for each in parts:
        ids += list(each.encode()) if isinstance(each, str) else image
    return np.array([*ids, marks["<|endofturn|>"], marks["<|assistant|>"]], np.int32)


def alone(model, tokens, pixels) -> str:
    """What the library writes of it."""
    marks = model.tokenizer.special_tokens
    end, *others = marks["<|endofturn|>"], *(marks[name] for name in marks)
    banned = [token for token in others if token != end]
    sampler = make_sampler(0.0, banned_tokens=banned, vocab_size=model.config.vocab_size)
    ids = model.generator.submit(
        tokens, images=pixels, max_new_tokens=6, sampler=sampler, stop_token=end
    ).result()
    return model.tokenizer.decode(ids[ids != end])


def test_a_reply_is_that_of_the_generator_to_the_same_tokens_and_images(client, model):
    texts = []
    for pixels, shown in ((PIXELS[:2], SHOWN[:2]), (PIXELS[1:], SHOWN[1:])):
        reply = answered(client, [says("Is ", shown[0], "or", shown[1], "?")]).json()
        tokens = prompt(model, "Is ", 0, "or", 1, "?")
        texts.append(reply["choices"][0]["message"]["content"])
        assert texts[-1] == alone(model, tokens, pixels)
        assert reply["usage"]["prompt_tokens"] == len(tokens)
    assert texts[0] != texts[1]  # so the images count
    beam = answered(client, [says("Is ", SHOWN[1], "or", SHOWN[2], "?")], num_beams=1).json()
    assert beam["choices"][0]["message"]["content"] == texts[1]
    listed = client.get("/v1/models").json()["data"]
    assert [each["gptjax"]["images"] for each in listed] == [True, False]


@pytest.mark.slow
def test_turns_that_do_not_fit_go_with_their_pictures(client, model):
    said = [says(SHOWN[0], "x" * 20), {"role": "assistant", "content": "y"}, says(SHOWN[1], "z")]
    refused = answered(client, said).json()
    assert "gptjax" in refused  # 34 tokens of 48
    said[0] = says(SHOWN[0], "x" * 40)
    error = answered(client, said).json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    left = answered(client, said, context_overflow="drop_oldest").json()
    assert left["gptjax"]["dropped_messages"] == [0, 1]
    expected = alone(model, prompt(model, 1, "z"), PIXELS[1:2])
    assert left["choices"][0]["message"]["content"] == expected
    error = answered(client, said, context_overflow="slide").json()["error"]
    assert "got slide with pictures" in error["message"]


HUGE = encoded(Image.new("1", (5000, 5000)))
WHERE = "messages[0].content[0]"


@pytest.mark.parametrize(
    ("messages", "body", "said"),
    [
        ([says(part("https://a.b/c.png"))], {}, f"{WHERE}.image_url.url: got 'https://a.b/c.png',"),
        ([says(part("file:///etc/passwd"))], {}, f"{WHERE}.image_url.url: got 'file:///etc/p"),
        ([says(part("data:image/gif;base64,AA=="))], {}, f"{WHERE}.image_url.url: got 'data:im"),
        ([says(part("data:image/png;base64,é"))], {}, "got no base64"),
        ([says(part("data:image/png;base64,AAAA"))], {}, "got no PNG or JPEG picture"),
        ([says(part(SHOWN[0]["image_url"]["url"][:-40]))], {}, f"{WHERE}.image_url.url: got a bro"),
        ([says(part(HUGE))], {}, "got 5000 x 5000 pixels, expected at most"),
        ([says(part("", detail="high"))], {}, f'{WHERE}.image_url.detail: got "high", expected'),
        ([says(part("", size=3))], {}, f"{WHERE}.image_url: got 'size'"),
        ([says(*SHOWN)], {}, "messages: got 3 pictures, expected at most 2"),
        ([says("a", SHOWN[0])], {"model": "reads"}, "the model reads reads text alone"),
        ([{"role": "system", "content": [SHOWN[0]]}], {}, "got a picture of the role system"),
        ([says({"type": "input_image"})], {}, 'an object of type "text" or'),
    ],
)
def test_what_is_no_picture_for_the_model_is_refused_by_name(client, messages, body, said):
    refused = answered(client, messages, **body)
    error = refused.json()["error"]
    assert refused.status_code == 400 and error["param"] == "messages", error
    assert said in error["message"], error["message"]


def test_replies_are_not_ranked_by_what_does_not_see_pictures(client):
    refused = answered(client, [says(SHOWN[0])], best_of=2, temperature=1, rank_by="first")
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "rank_by"
    refused = client.post("/v1/responses", json={"input": [says(SHOWN[0])]})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "input"
    counted = client.post("/tokenize", json={"messages": [says(SHOWN[0])]}).json()
    assert counted["count"] == 8
