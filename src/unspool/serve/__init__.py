"""A server for saved models: the Open Inference Protocol v2, streams, MLflow's payloads and a page to try them.

    from unspool.serve import Limits, Service, serve
    service = Service({"reviews": Path("model")})
    serve(service, port=8000)

`service.app` is an ASGI application for any server of those. Needs the extra `serve`.
"""

from __future__ import annotations

from unspool.serve.app import Service
from unspool.serve.errors import RequestError
from unspool.serve.limits import Limits
from unspool.serve.repository import named_paths
from unspool.serve.server import serve

__all__ = ["Limits", "RequestError", "Service", "named_paths", "serve"]
