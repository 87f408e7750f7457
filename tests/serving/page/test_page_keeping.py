"""What the browser keeps of conversations: files of them, broken records, other tabs."""

import json

import pytest

pytestmark = pytest.mark.slow

STORED = """(record) => new Promise((resolve) => {
  const open = indexedDB.open("gptjax", 1), name = "conversations";
  open.onsuccess = () => {
    const table = open.result.transaction(name, "readwrite").objectStore(name);
    const done = record ? table.put(record) : table.getAll();
    done.onsuccess = () => { open.result.close(); resolve(done.result); };
  };
})"""


def test_conversations_are_exported_and_imported(start, tmp_path):
    walk = start()
    page = walk.page
    walk.ask("To be kept 🙂")
    walk.last("[aria-label='Another reply']").click()
    page.wait_for_selector("text=2 / 2")
    walk.replied(2)
    with page.expect_download() as download:
        page.click("#export")
    path = tmp_path / "export.json"
    download.value.save_as(path)
    data = json.loads(path.read_text())
    assert data["format"] == "gptjax-conversations" and data["version"] == 1

    broken = json.loads(path.read_text())["conversations"][0]
    broken["turns"]["root"]["children"] = ["none"]
    data["conversations"].append(broken)
    path.write_text(json.dumps(data))
    other = start()
    other.page.set_input_files("#import-file", path)
    other.page.wait_for_selector("text=1 conversation imported.")
    notices = other.page.inner_text("#notices")
    assert "Conversation 2: turn root has a child that there is not." in notices
    other.page.click("#conversations a")
    other.page.wait_for_selector(".turn")
    assert other.page.inner_text(".turn.assistant .switcher-text") == "2 / 2"
    assert other.page.locator(".turn.user").inner_text() == "To be kept 🙂"
    other.page.set_input_files("#import-file", path)  # the same again changes nothing
    other.page.wait_for_selector("text=0 conversations imported.")
    assert other.page.locator("#conversations li").count() == 1
    path.write_text('{"format": "other"}')
    other.page.set_input_files("#import-file", path)
    other.page.wait_for_selector("text=Nothing was imported: The file is no export")


def test_broken_storage_does_not_break_the_page(walk):
    page = walk.page
    walk.ask("A good one")
    for record in ({"id": "bad", "format": 1}, {"id": "new", "format": 9, "turns": {}}):
        page.evaluate(STORED, record)
    page.evaluate(
        "for (const name of ['settings', 'model', 'theme', 'columns'])"
        "localStorage['gptjax.' + name] = '{x'"
    )
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert "2 stored conversations could not be read" in page.inner_text("#notices")
    assert page.locator("#conversations li").count() == 1
    assert "Reply" in walk.ask("Still there?")
    assert len(page.evaluate(STORED, None)) == 3  # nothing was thrown away


def test_tokens_that_cannot_be_read_leave_the_text(walk):
    page = walk.page
    text = walk.ask("prose")
    (record,) = page.evaluate(STORED, None)
    reply = next(turn for turn in record["turns"].values() if turn["role"] == "assistant")
    assert reply["packed"].startswith("[{") and "tokens" not in reply
    reply["packed"] = '[{"text": 1}]'
    page.evaluate(STORED, record)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    walk.last("[data-tokens]").click()
    assert walk.last(".prose").inner_text() == text


def test_a_browser_that_keeps_nothing_still_chats(browser, page_stub):
    page_stub.reset()
    context = browser.new_context()
    context.add_init_script(
        "for (const n of ['indexedDB', 'localStorage', 'sessionStorage'])"
        "Object.defineProperty(window, n, { get() { throw new DOMException('denied'); } });"
    )
    page = context.new_page()
    page.goto(page_stub.url)
    page.wait_for_selector("text=This browser keeps no conversations: denied")
    page.fill("#draft", "hello")
    page.press("#draft", "Enter")
    page.wait_for_selector("text=Reply 1")
    context.close()


def test_conversations_are_renamed_and_deleted(walk):
    page = walk.page
    walk.ask("Old name")
    page.click("#conversations summary")
    page.click("text=Rename")
    page.fill("#ask-input", "New name")
    page.keyboard.press("Enter")
    page.wait_for_selector("#conversations a:has-text('New name')")
    page.click("#conversations summary")
    page.click("#conversations >> text=Give as feedback")
    page.wait_for_selector("text=The conversation is kept on the server.")
    (given,) = walk.stub.asked("/feedback/conversations")
    assert [message["role"] for message in given["messages"]] == ["user", "assistant"]
    page.click("#conversations summary")
    page.click("text=Delete")
    page.click("#ask >> text=Cancel")
    assert page.locator("#conversations li").count() == 1
    page.click("#conversations summary")
    page.click("#conversations >> text=Delete")
    page.click("#ask .primary")
    page.wait_for_selector("#conversations-empty:not([hidden])")
    assert page.evaluate(STORED, None) == []


def test_two_tabs_show_the_same(walk):
    walk.ask("hello")
    other = walk.page.context.new_page()
    other.goto(walk.page.url)
    other.wait_for_selector(".turn")
    walk.ask("more")
    other.wait_for_selector(".turn:nth-child(4)")
