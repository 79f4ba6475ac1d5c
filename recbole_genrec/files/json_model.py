"""JSON described by a pydantic model: one clear message for the first mismatch, worded as in :mod:`.json_shape`."""

from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import ErrorDetails, core_schema

from recbole_genrec.errors import GenRecError, shown
from recbole_genrec.files.json_shape import NAMES


class JSONModel(BaseModel):
    """A JSON object. Unknown keys are kept, as other versions may have written them."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    def content(self) -> dict[str, Any]:
        """The keys that were given, as JSON holds them."""
        return self.model_dump(by_alias=True, exclude_unset=True)


class Checked:
    """Type metadata: a dictionary that must match a model, and stays a dictionary with its order of keys.

    Args:
        model: the :class:`JSONModel`.
    """

    def __init__(self, model: type[JSONModel]) -> None:
        self.model = model

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Build the schema for pydantic: check by the model, then give the dictionary back."""

        def check(value: Any, model: core_schema.ValidatorFunctionWrapHandler) -> Any:
            model(value)
            return value

        as_it_is = core_schema.plain_serializer_function_ser_schema(dict)
        return core_schema.no_info_wrap_validator_function(
            check, handler.generate_schema(self.model), serialization=as_it_is
        )


Model = TypeVar("Model", bound=JSONModel)


def read_model(model: type[Model], value: Any, where: str) -> Model:
    """Make a model of what ``json.loads`` gave.

    Args:
        model: a class.
        value: the JSON.
        where: names the value in an error.

    Raises:
        GenRecError: it looks different; the message says where.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise GenRecError(f"{where}{_misfit(model, value, error.errors()[0])}.") from None


def _misfit(kind: Any, value: Any, error: ErrorDetails) -> str:
    """The place of one of pydantic's errors below ``value``, and what is wrong there."""
    steps, lacking, place = list(error["loc"]), None, ""
    if error["type"] == "missing":
        lacking = steps.pop()
    for step in steps:
        below = _below(kind, step)
        if below is None:  # not a key: pydantic names the type of several that it tried
            break
        kind, value, place = below, value[step], f"{place}[{shown(step)}]"
    return f"{place} lacks the key {lacking!r}" if lacking else f"{place} is {shown(value)}, not {_named(kind)}"


def _below(kind: Any, step: int | str) -> Any:
    """The type of an entry of a type, or ``None`` where it has none, or several of its types may."""
    kinds = [one for one in _kinds(kind) if one is not NoneType]
    if len(kinds) > 1:
        return None
    kind = kinds[0]
    if get_origin(kind) is Annotated:
        kind, *metadata = get_args(kind)
        kind = next((item.model for item in metadata if isinstance(item, Checked)), kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = {info.alias or name: info for name, info in kind.model_fields.items()}
        return Annotated[(fields[step].annotation, *fields[step].metadata, None)] if step in fields else None
    parts = get_args(kind)
    return parts[-1] if get_origin(kind) in (dict, list) else None


def _kinds(kind: Any) -> tuple[Any, ...]:
    """The types that a union admits; of another type, itself."""
    if get_origin(kind) is Annotated and get_origin(get_args(kind)[0]) in (Union, UnionType):
        kind = get_args(kind)[0]
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _named(kind: Any) -> str:
    """What a type accepts, in words."""
    names = []
    for one in _kinds(kind):
        one = get_args(one)[0] if get_origin(one) is Annotated else one
        one = get_origin(one) or one
        names.append("a list" if one is list else NAMES.get(None if one is NoneType else one, "an object"))
    return " or ".join(names)
