"""The chat page's static files: what `/`, `/page/{name}` and `/favicon.ico` answer.

The page is plain HTML, CSS and ES modules in the folder `page`; there is no build step. Browsers
keep the files and ask each time whether they changed (ETag), so a new version shows at once.

    Starlette(routes=page_routes())
"""

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

FOLDER = Path(__file__).parent / "page"
MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
# Nothing but files of ours runs, and the page speaks to its own server only. Strings never become
# HTML or script (Trusted Types), so that a mistake in the page cannot run what a model wrote.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page_routes() -> list[Route]:
    """The routes of the page, for a Starlette application."""
    names = frozenset(path.name for path in FOLDER.iterdir() if path.suffix in MEDIA_TYPES)

    async def home(request: Request) -> Response:
        return _file(request, "index.html")

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        return _file(request, name) if name in names else _missing(name)

    async def favicon(request: Request) -> Response:
        return _file(request, "icon.svg")

    return [Route("/", home), Route("/page/{name}", asset), Route("/favicon.ico", favicon)]


def _file(request: Request, name: str) -> Response:
    content = (FOLDER / name).read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = HEADERS | {"ETag": tag}
    known = request.headers.get("if-none-match", "")
    if known == "*" or tag in (part.strip().removeprefix("W/") for part in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=MEDIA_TYPES[Path(name).suffix])


def _missing(name: str) -> Response:
    error = {
        "message": f"no file {name!r} of the page",
        "type": "invalid_request_error",
        "param": None,
        "code": "not_found",
    }
    return JSONResponse({"error": error}, status_code=404, headers=HEADERS)
