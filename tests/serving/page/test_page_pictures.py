"""Pictures in a message: added, taken away, sent, shown, kept."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

DROP = """([selector, name, kind, content]) => {
  const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: kind }));
  for (const event of ["dragover", "drop"]) document.querySelector(selector).dispatchEvent(
    new DragEvent(event, { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


def png(size, seed=0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def drop(page, name, kind, content):
    page.evaluate(DROP, ["#log", name, kind, base64.b64encode(content).decode()])


def test_pictures_are_dropped_sent_and_kept(walk, tmp_path):
    page, small = walk.page, png(8)
    assert page.locator("#attach").is_hidden()
    drop(page, "a.png", "image/png", small)
    page.wait_for_selector("text=This model reads text alone.")
    page.select_option("#model", "wide-chat")
    page.wait_for_selector("#attach:visible")
    drop(page, "a.gif", "image/gif", b"GIF89a")
    page.wait_for_selector("text=a.gif is neither PNG nor JPEG.")
    drop(page, "a.png", "image/png", small)
    page.wait_for_selector(".picture img")
    (tmp_path / "large.png").write_bytes(png(600, 1))  # a megabyte, which is sent smaller
    page.set_input_files("#picture-file", tmp_path / "large.png")
    drop(page, "b.png", "image/png", png(8, 2))
    page.wait_for_selector("[aria-label='Remove picture 3']")
    page.click("[aria-label='Remove picture 3']")
    assert "to [picture][picture]What is it?" in walk.ask("What is it?")
    assert page.locator("#pictures").is_hidden()
    first, second, text = walk.bodies()[-1]["messages"][-1]["content"]
    assert first["image_url"]["url"] == f"data:image/png;base64,{base64.b64encode(small).decode()}"
    head, content = second["image_url"]["url"].split(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (512, 512)
    assert text == {"type": "text", "text": "What is it?"}

    page.reload()
    page.wait_for_selector(".turn.user img")
    shown = page.evaluate(
        "[...document.querySelectorAll('.turn.user img')].map(x => x.naturalWidth)"
    )
    assert shown == [8, 512]
    walk.ask("And now?")
    assert walk.bodies()[-1]["messages"][0]["content"][0] == first
    walk.last("[aria-label='A good reply']").click()
    page.wait_for_selector("text=Votes are not kept: the server keeps text alone.")
    page.click(".turn.user:last-child [aria-label^=Compare], .turn.user [aria-label^=Compare]")
    page.wait_for_selector("text=Models are compared on text alone.")
