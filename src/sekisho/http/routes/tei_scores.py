"""text-embeddings-inference's `/similarity` and `/predict`."""

from __future__ import annotations

import time
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from sekisho.errors import InvalidRequest
from sekisho.http.answers import success
from sekisho.http.bodies import check
from sekisho.http.departure import unless_gone
from sekisho.http.openapi import MODEL_ERRORS, Dialect
from sekisho.http.tei import Prompted, TeiFields, tei_object
from sekisho.http.wiring import parts_of
from sekisho.service.predict import TextOrPair, predict
from sekisho.service.similarity import similarity

dialect = Dialect("text-embeddings-inference")

_TEXT = {"type": "string"}
_ONE_OR_TWO = {"type": "array", "minItems": 1, "maxItems": 2, "items": _TEXT}
_PREDICT_INPUTS: dict[str, Any] = {
    "description": "A text, a pair of texts, or a list of lists of one or two texts",
    "anyOf": [_TEXT, _ONE_OR_TWO, {"type": "array", "minItems": 1, "items": _ONE_OR_TWO}],
}


class Compared(BaseModel):
    """One text, and those to compare it with."""

    source_sentence: str
    sentences: Annotated[list[str], Field(min_length=1)]


class SimilarityBody(BaseModel):
    """What is said about the texts stands in `parameters`."""

    model_config = ConfigDict(extra="ignore", title="SimilarityRequest")

    inputs: Compared
    parameters: Prompted | None = None
    model: str | None = None


class PredictBody(TeiFields):
    """A text, a pair, or a list of either."""

    model_config = ConfigDict(extra="ignore", title="PredictRequest")

    inputs: Annotated[Any, Field(json_schema_extra=_PREDICT_INPUTS)]
    raw_scores: Annotated[bool | None, Field(description="The model's own numbers, as they are")] = None


class Prediction(BaseModel):
    """A label and its score."""

    score: float
    label: str


@dialect.post(
    "/similarity",
    "How near texts are to one",
    "The cosine of each sentence with the source, in input order",
    body=SimilarityBody,
    example={"inputs": {"source_sentence": "What is Deep Learning?", "sentences": ["What is Machine Learning?"]}},
    errors=MODEL_ERRORS,
    response=list[float],
)
async def tei_similarity(request: Request) -> Response:
    began = time.perf_counter()
    body = check(SimilarityBody, await tei_object(request))
    rest = body.parameters or Prompted()
    work = similarity(
        parts_of(request).embed,
        body.inputs.source_sentence,
        body.inputs.sentences,
        model=body.model,
        kind=rest.prompt_name,
        truncation=rest.truncation,
    )
    result = await unless_gone(request, work)
    return success(result.cosines, result, began)


@dialect.post(
    "/predict",
    "Texts or pairs → what a classifier or a reranker makes of them",
    "For one input its labels, the likeliest first; for a list a list of such lists",
    body=PredictBody,
    example={"inputs": ["What is Deep Learning?", "Deep Learning is a kind of machine learning"]},
    errors=MODEL_ERRORS,
    response=list[Prediction] | list[list[Prediction]],
)
async def tei_predict(request: Request) -> Response:
    """Scores are probabilities (the sigmoid of one number, the softmax of several) unless `raw_scores`."""
    began = time.perf_counter()
    body = check(PredictBody, await tei_object(request))
    given, single = _read_sequences(body.inputs)
    parts = parts_of(request)
    work = predict(
        parts.catalog.registry,
        parts.pool,
        given,
        model=body.model,
        truncation=body.truncation,
        raw=bool(body.raw_scores),
    )
    result = await unless_gone(request, work)
    ranked = [
        sorted(
            ({"score": score, "label": label} for label, score in zip(result.labels, row, strict=True)),
            key=lambda each: -each["score"],
        )
        for row in result.scores.tolist()
    ]
    return success(ranked[0] if single else ranked, result, began)


def _read_sequences(inputs: Any) -> tuple[list[TextOrPair], bool]:
    """(the texts and pairs, whether it is one alone) as text-embeddings-inference reads them."""
    if isinstance(inputs, str):
        return [(inputs, None)], True
    if _is_sequence(inputs):
        return [_sequence(inputs)], True
    if isinstance(inputs, list) and inputs and all(map(_is_sequence, inputs)):
        return [_sequence(each) for each in inputs], False
    raise InvalidRequest(
        "`inputs` must be a text, a pair of texts, or a list of lists of one or two texts", param="inputs"
    )


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list) and len(value) in {1, 2} and all(isinstance(text, str) for text in value)


def _sequence(texts: list[str]) -> TextOrPair:
    return texts[0], texts[1] if len(texts) == 2 else None
