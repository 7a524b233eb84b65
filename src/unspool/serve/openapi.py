"""The description of the REST interface, OpenAPI 3.1, of the models that are served."""

from __future__ import annotations

from typing import Any

from unspool import __version__
from unspool.serve.examples import inputs_of, payload_of, sequences_of
from unspool.serve.repository import Version
from unspool.serve.served import Served

Schema = dict[str, Any]
ERROR: Schema = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


def describe(versions: list[Version], token: bool) -> Schema:
    """The document. token: whether each request must bear one."""
    names = [version.served.name for version in versions]
    paths: dict[str, Any] = {}
    paths["/health"] = {"get": _get("How much is going on.", {"type": "object"})}
    paths["/ping"] = {"get": _get("Whether it runs.", {"type": "object"}, security=False)}
    for path, what in (
        ("/v2/health/live", "Whether it runs."),
        ("/v2/health/ready", "Whether models are loaded."),
    ):
        paths[path] = {"get": _get(what, {"type": "object"}, security=False)}
    paths["/metrics"] = {"get": _get("Counters for Prometheus.", None, media="text/plain")}
    paths["/v2"] = {
        "get": _get("The server.", {"type": "object", "required": ["name", "version", "extensions"]})
    }
    index = _post("The models.", _object({"ready": {"type": "boolean"}}), {"type": "array"}, ("400",))
    index["requestBody"]["required"] = False
    paths["/v2/repository/index"] = {"post": index}
    for name, version in zip(names, versions):
        paths |= _of_model(name, version)
    paths["/invocations"] = {"post": _invocations(names, versions)}
    security: Schema = {"security": [{"token": []}]} if token else {}
    schemes = {"token": {"type": "http", "scheme": "bearer"}} if token else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": "unspool serve", "version": __version__},
        "paths": paths,
        "components": {"schemas": {"Error": ERROR}, "securitySchemes": schemes},
        **security,
    }


def _of_model(name: str, version: Version) -> dict[str, Any]:
    served = version.served
    prefix = f"/v2/models/{name}"
    example = {"inputs": inputs_of(served)}
    infer = _post(
        "The outputs for some sequences.", _infer(served), _answer(), ("400", "404", "409", "422"), example
    )
    draw = {f"{prefix}/activity": {"post": _activity(served)}} if served.drawn else {}
    metadata = {"type": "object", "required": ["name", "versions", "platform", "inputs", "outputs"]}
    return {
        prefix: {"get": _get("Its tensors.", metadata)},
        f"{prefix}/ready": {"get": _get("Whether it is there.", {"type": "object"})},
        f"{prefix}/config": {"get": _get("As Triton's model configuration.", {"type": "object"})},
        f"{prefix}/infer": {"post": infer},
        **draw,
    }


def _activity(served: Served) -> Schema:
    array = {"type": "array"}
    sequence = {"sequence": _sequence(served)}
    errors, example = ("400", "422"), {"sequence": sequences_of(served)[1]}
    if served.drawn == "attention":
        what = "What each token that is written attends to."
        answer = _object({"tokens": array, "written": array, "attention": array})
        return _post(what, _object(sequence, ["sequence"]), answer, errors, example)
    asked = {"layer": {"type": "integer", "minimum": 1}, "backward": {"type": "boolean"}}
    answer = _object({"tokens": array, "gates": {"type": "object"}, "layers": {}, "directions": {}})
    what = "What gates and states do over one sequence."
    return _post(what, _object({**sequence, **asked}, ["sequence"]), answer, errors, example)


def _infer(served: Served) -> Schema:
    flag = {"type": "boolean"}
    parameters = {
        "sequence_id": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "maxLength": 256}]},
        "sequence_start": flag,
        "sequence_end": flag,
        "binary_data_output": flag,
        **{option: {} for option in served.options},
    }
    tensors = [
        _object(
            {
                "name": {"const": spec.name},
                "datatype": {"enum": list(served.taken(spec))},
                "shape": {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 0},
                    "minItems": 1,
                    "maxItems": max(2, len(spec.shape)),
                },
                "data": {"type": "array"},
                "parameters": _object({"binary_data_size": {"type": "integer", "minimum": 0}}),
            },
            ["name", "datatype", "shape"],
        )
        for spec in served.inputs
    ]
    tensor = {"oneOf": tensors}
    wanted = _object(
        {
            "name": {"enum": [spec.name for spec in served.outputs]},
            "parameters": _object({"binary_data": flag}),
        },
        ["name"],
    )
    return _object(
        {
            "id": {"type": "string"},
            "parameters": _object(parameters),
            "inputs": {"type": "array", "items": tensor, "minItems": 1},
            "outputs": {"type": "array", "items": wanted},
        },
        ["inputs"],
    )


def _answer() -> Schema:
    tensor = {"type": "object", "required": ["name", "datatype", "shape"]}
    return {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {"outputs": {"type": "array", "items": tensor}},
    }


def _sequence(served: Served) -> Schema:
    if served.kind == "text":
        return {"type": "string"}
    step: Schema = (
        {"type": "integer"} if served.kind == "ids" else {"anyOf": [{"type": "number"}, {"type": "array"}]}
    )
    return {"type": "array", "items": step}


def _invocations(names: list[str], versions: list[Version]) -> Schema:
    array = {"type": "array"}
    table = _object({"columns": array, "index": array, "data": array}, ["columns", "data"])
    forms = {
        "dataframe_split": table,
        "dataframe_records": array,
        "instances": array,
        "inputs": {"anyOf": [array, {"type": "object"}]},
    }
    body = {"oneOf": [_object({form: schema, "params": {}}, [form]) for form, schema in forms.items()]}
    answer = {"type": "object", "required": ["predictions"], "properties": {"predictions": array}}
    example = payload_of(versions[0].served)
    found = _post("MLflow's scoring payloads.", body, answer, ("400", "404", "415", "422"), example)
    query = {"name": "model", "in": "query", "required": len(names) > 1, "schema": {"enum": names}}
    return {**found, "parameters": [query]}


def _object(properties: Schema, required: list[str] | None = None) -> Schema:
    found = {"type": "object", "properties": properties, "additionalProperties": False}
    return found if required is None else {**found, "required": required}


def _content(schema: Schema | None, media: str = "application/json", example: Any = None) -> Schema:
    one: Schema = {} if schema is None else {"schema": schema}
    return {media: one if example is None else {**one, "example": example}}


def _get(what: str, schema: Schema | None, media: str = "application/json", security: bool = True) -> Schema:
    responses = {"200": {"description": what, "content": _content(schema, media)}, **_errors(("401", "403"))}
    found: Schema = {"summary": what, "responses": responses}
    return found if security else {**found, "security": []}


def _post(what: str, body: Schema, answer: Schema, errors: tuple[str, ...], example: Any = None) -> Schema:
    told = ("401", "403", "408", "413", "415", "429", "503", *errors)
    return {
        "summary": what,
        "requestBody": {"required": True, "content": _content(body, example=example)},
        "responses": {"200": {"description": what, "content": _content(answer)}, **_errors(told)},
    }


def _errors(codes: tuple[str, ...]) -> Schema:
    what = {
        "400": "No such request.", "401": "No token.", "403": "Not allowed.", "404": "No such model.",
        "408": "Too slow.", "409": "No such stream.", "413": "Too large.", "415": "No such content.",
        "422": "Not for this model.", "429": "Too much at a time.", "503": "The server stops.",
    }  # fmt: skip
    schema = {"$ref": "#/components/schemas/Error"}
    return {code: {"description": what[code], "content": _content(schema)} for code in sorted(set(codes))}
