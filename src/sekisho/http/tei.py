"""What the routes of text-embeddings-inference share: the fields of a request, and errors in its shape."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request

from sekisho.contract import Truncation
from sekisho.http.bodies import without_nulls
from sekisho.http.guards import TEI_SHAPED
from sekisho.http.wiring import json_object


def _direction(value: object) -> object:
    return value.casefold() if isinstance(value, str) else value


class TeiFields(BaseModel):
    """What a request may say beside its texts. `model` is ours: a server of theirs has one."""

    model_config = ConfigDict(extra="ignore")

    model: Annotated[str | None, Field(description="Left out: the default model")] = None
    truncate: Annotated[bool | None, Field(description="Cut texts that are too long, or refuse them")] = None
    truncation_direction: Annotated[
        Literal["left", "right"] | None,
        BeforeValidator(_direction, json_schema_input_type=Literal["left", "right", "Left", "Right"] | None),
    ] = None

    @property
    def truncation(self) -> Truncation | None:
        if self.truncate is None:
            return "start" if self.truncation_direction == "left" else None
        if not self.truncate:
            return "none"
        return "start" if self.truncation_direction == "left" else "end"


class Prompted(TeiFields):
    """A request whose texts may get a prompt."""

    prompt_name: Annotated[str | None, Field(description="query, document, or another prompt of the model")] = None


async def tei_object(request: Request) -> dict[str, Any]:
    """The request's body without nulls. From here on an error is in their shape."""
    values = await json_object(request)
    request.scope[TEI_SHAPED] = True
    return without_nulls(values)
