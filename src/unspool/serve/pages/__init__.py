"""The pages: one to try a model, one that tells how to use it, and the description for programs."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from unspool.serve import examples, openapi
from unspool.serve.answering import json_response
from unspool.serve.protocol import InferRequest, response_body
from unspool.serve.repository import Repository, Version

HERE = Path(__file__).parent
SCRIPTS = ("draw.js", "read.js", "try.js")


class Pages:
    """The pages of a server. token: whether requests must bear one."""

    def __init__(self, repository: Repository, token: bool) -> None:
        self.repository, self.token = repository, token
        script = "".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
        self._try = (HERE / "try.html").read_text(encoding="utf-8").replace("<!-- script -->", script)
        self._docs = (HERE / "docs.html").read_text(encoding="utf-8")
        self._examples: dict[tuple[str, str], str] = {}  # (model, version) -> HTML

    async def try_it(self, request: Request) -> Response:
        """The page to try a model."""
        return _page(self._try)

    async def openapi(self, request: Request) -> Response:
        """The description for programs."""
        versions = [self.repository.get(name) for name in self.repository.names()]
        return json_response(openapi.describe(versions, self.token))

    async def docs(self, request: Request) -> Response:
        """How to use the models, with requests for them and what the server really answers."""
        root = str(request.base_url).rstrip("/")
        parts = [await self._example(self.repository.get(name), root) for name in self.repository.names()]
        return _page(
            self._docs.replace("<!-- models -->", "".join(parts)).replace("{root}", html.escape(root))
        )

    async def _example(self, version: Version, root: str) -> str:
        served = version.served
        if (served.name, version.number) not in self._examples:
            document = {"inputs": examples.inputs_of(served)}
            tensors = examples.tensors_of(served)
            outputs = await version.batcher.submit(served.rows(tensors))
            answer, _ = response_body(served.name, version.number, InferRequest(tensors), outputs)
            self._examples = {key: v for key, v in self._examples.items() if key[0] != served.name}
            self._examples[served.name, version.number] = _example_html(version, document, answer.decode())
        shown = self._examples[served.name, version.number].replace("{root}", html.escape(root))
        return shown.replace(
            "{bearer}", html.escape(' -H "Authorization: Bearer $UNSPOOL_TOKEN"') if self.token else ""
        )


def _example_html(version: Version, document: dict[str, Any], answer: str) -> str:
    served = version.served
    rows = "".join(
        f"<tr><td>{kind}<td><code>{html.escape(s.name)}</code><td>{s.datatype}<td>{list(s.shape)}</tr>"
        for kind, specs in (("in", served.inputs), ("out", served.outputs))
        for s in specs
    )
    body = examples.quoted(json.dumps(document))
    command = f"curl -s{{bearer}} {{root}}/v2/models/{served.name}/infer -d {html.escape(body)}"
    return (
        f"<h2>{html.escape(served.name)}</h2><p>{html.escape(served.model.describe())}</p>"
        f"<table><tr><th><th>tensor<th>datatype<th>shape</tr>{rows}</table>"
        f"<pre>{command}</pre><pre>{html.escape(answer)}</pre>"
    )


def _page(text: str) -> Response:
    """HTML that may run its own script alone, and load nothing."""

    def allowed(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        sums = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in found]
        return " ".join(f"'sha256-{s}'" for s in sums) or "'none'"

    policy = (
        f"default-src 'none'; script-src {allowed('script')}; style-src {allowed('style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(
        text, headers={"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"}
    )
