"""The page's files over HTTP: their headers, what is not changed, what there is not."""

import re

import pytest

pytest.importorskip("starlette")

from starlette.applications import Starlette
from starlette.testclient import TestClient

from gptjax.serving.page_files import FOLDER, page_routes


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(Starlette(routes=page_routes()))


def test_the_page_comes_with_headers_that_keep_foreign_code_out(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    policy = dict(
        part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' data:"
    assert "unsafe" not in answer.headers["content-security-policy"]


def test_every_file_that_is_named_in_the_page_is_there_and_none_is_elsewhere(client):
    named = set()
    for path in sorted(FOLDER.iterdir()):
        text = path.read_text(encoding="utf-8")
        named |= {f"page/{name}" for name in re.findall(r'from "\./([\w.]+)"', text)}
        named |= set(re.findall(r'(?:src|href)="(page/[\w.]+)"', text))
        foreign = set(re.findall(r"https?://[\w.]+", text))
        assert foreign <= {"http://www.w3.org"}, path.name  # the namespace of SVG
    assert len(named) > 20
    for name in named:
        assert client.get(f"/{name}").status_code == 200, name
    assert {f"page/{path.name}" for path in FOLDER.iterdir()} - named == {"page/index.html"}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/page/app.js", "text/javascript; charset=utf-8"),
        ("/page/base.css", "text/css; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
        ("/favicon.ico", "image/svg+xml"),
    ],
)
def test_a_file_has_its_type(client, path, kind):
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert "content-security-policy" in answer.headers


def test_what_has_not_changed_is_not_sent_again(client):
    first = client.get("/page/app.js")
    again = client.get("/page/app.js", headers={"if-none-match": f'"x", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    other = client.get("/page/app.js", headers={"if-none-match": '"x"'})
    assert other.status_code == 200


@pytest.mark.parametrize(
    "name",
    ["none.js", "..%2Fpage_files.py", "%2e%2e/page_files.py", "..%5c__init__.py", ".", "%00"],
)
def test_nothing_outside_the_folder_is_served(client, name):
    answer = client.get(f"/page/{name}")
    assert answer.status_code == 404
    assert b"def " not in answer.content


def test_a_file_that_there_is_not_is_an_error_of_openais_shape(client):
    answer = client.get("/page/none.js")
    assert answer.json() == {
        "error": {
            "message": "no file 'none.js' of the page",
            "type": "invalid_request_error",
            "param": None,
            "code": "not_found",
        }
    }


def test_no_file_of_the_page_is_long():
    for path in FOLDER.iterdir():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 320, path.name
