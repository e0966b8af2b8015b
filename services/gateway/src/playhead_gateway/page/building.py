"""From the JSON Schema (2020-12) of an answer to the fields that people fill in."""

from collections.abc import Iterable

import msgspec
from msgspec import UNSET, UnsetType

from playhead_contracts.events import Json
from playhead_gateway.page.fields import (
    MOST_ROWS,
    BooleanField,
    ChoiceField,
    Field,
    FixedField,
    GroupField,
    JsonField,
    ListField,
    ManyField,
    NumberField,
    Option,
    TextField,
    TextKind,
    named,
)
from playhead_gateway.page.schemas import Plain, Schema, alternatives, as_list, as_object, json_text, plain

_DEEPEST = 8
_MOST_FIELDS = 500
_LONG_TEXT = 200

_TEXT_KINDS: dict[str, TextKind] = {
    "email": "email", "idn-email": "email", "uri": "url", "iri": "url",
    "date": "date", "time": "time", "date-time": "datetime-local",
}  # fmt: skip


def form_of(schema: Schema) -> Field:
    """The fields of a whole answer: a group, or one field for JSON text."""
    return _Builder(schema).field(schema, key="", label="Answer", is_required=True)


class _Builder:
    """Makes the fields of one form."""

    def __init__(self, root: Schema):
        self._root = root
        self._left = _MOST_FIELDS

    def field(
        self,
        schema: Json,
        *,
        key: str,
        label: str = "",
        is_required: bool,
        within_optional: bool = False,
        depth: int = 0,
        refs: frozenset[str] = frozenset(),
    ) -> Field:
        """The field of one schema. `within_optional`: in an object that is left out when all of it is blank, where a
        field must not say something by itself."""
        self._left -= 1
        found = plain(schema, self._root, refs)
        written = found.schema if found is not None else as_object(schema) or {}
        default = written.get("default", UNSET)
        if found is None or depth > _DEEPEST or self._left < 0:
            return JsonField(
                key=key, label=_text(written, "title") or label or named(key), help=_text(written, "description"),
                is_required=is_required, default=UNSET if within_optional else default,
            )  # fmt: skip
        made = self._made(found, key, is_required, within_optional, depth)
        return msgspec.structs.replace(
            made,
            label=_text(written, "title") or label or named(key),
            help=_text(written, "description"),
            is_nullable=found.is_nullable,
            # A fixed value is one that the author gives; the others are suggestions.
            default=UNSET if within_optional and not isinstance(made, FixedField) else made.default,
        )

    def _made(self, found: Plain, key: str, is_required: bool, within_optional: bool, depth: int) -> Field:
        schema = found.schema
        default = schema.get("default", schema.get("const", UNSET) if schema.get("readOnly") else UNSET)
        if schema.get("readOnly") is True:
            return FixedField(key=key, label="", default=default)
        if schema.get("const") is True or (type_of(schema) == "boolean" and "enum" not in schema):
            is_clear = not (within_optional or found.is_nullable) and (is_required or default is not UNSET)
            return BooleanField(
                key=key, label="", is_required=is_required, default=default, is_three_state=not is_clear
            )  # fmt: skip
        if options := _options(schema):
            return ChoiceField(key=key, label="", is_required=is_required, default=default, options=options)
        match type_of(schema):
            case "string":
                return _text_field(schema, key, is_required, default)
            case "integer" | "number" as kind:
                return _number_field(schema, key, is_required, default, is_integer=kind == "integer")
            case "array" if (made := self._list(found, key, is_required, within_optional, depth)) is not None:
                return msgspec.structs.replace(made, default=default)
            case "object" if _is_closed(schema):
                return msgspec.structs.replace(
                    self._group(found, key, is_required, within_optional, depth), default=default
                )
            case _:
                return JsonField(key=key, label="", is_required=is_required, default=default)

    def _list(
        self, found: Plain, key: str, is_required: bool, within_optional: bool, depth: int
    ) -> ListField | ManyField | None:
        schema = found.schema
        least, most = _count(schema, "minItems", 0), _count(schema, "maxItems", MOST_ROWS)
        items = as_object(schema.get("items"))
        if items is None or "prefixItems" in schema or least > MOST_ROWS:
            return None
        # Rows that stand there from the start say nothing by themselves when the list may be left out.
        is_shaky = least > 0 and (within_optional or not is_required)
        item = self.field(
            items, key="", label="Item", is_required=True, within_optional=is_shaky, depth=depth + 1, refs=found.refs
        )
        if isinstance(item, ChoiceField) and not item.is_nullable:
            return ManyField(key=key, label="", is_required=is_required, options=item.options)
        return ListField(
            key=key, label="", is_required=is_required, item=item, min_items=least, max_items=min(most, MOST_ROWS)
        )  # fmt: skip

    def _group(self, found: Plain, key: str, is_required: bool, within_optional: bool, depth: int) -> GroupField:
        properties = as_object(found.schema.get("properties")) or {}
        required = set(as_list(found.schema.get("required")))
        is_shaky = within_optional or found.is_nullable or not is_required
        fields = tuple(
            self.field(
                properties[name], key=name, is_required=name in required, within_optional=is_shaky,
                depth=depth + 1, refs=found.refs,
            )
            for name in _ordered(properties, as_list(found.schema.get("x-order")))
        )  # fmt: skip
        return GroupField(key=key, label="", is_required=is_required, fields=fields)


def type_of(schema: Schema) -> str:
    """The type that a plain schema is about, from what it says if it does not say it; empty if it is any."""
    match schema.get("type"):
        case str(name):
            return name
        case None:
            pass
        case _:
            return ""
    hints = {
        "object": ("properties",),
        "array": ("items",),
        "string": ("minLength", "maxLength", "pattern", "format", "contentMediaType"),
        "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    }
    return next((name for name, keywords in hints.items() if any(keyword in schema for keyword in keywords)), "")


def _is_closed(schema: Schema) -> bool:
    """Whether the names of the properties are known, and none depend on which of several objects is meant."""
    by_alternative = any("properties" in each or "$ref" in each for each in alternatives(schema))
    return bool(as_object(schema.get("properties"))) and "patternProperties" not in schema and not by_alternative


def _ordered(properties: dict[str, Json], order: list[Json]) -> Iterable[str]:
    first = [name for name in dict.fromkeys(order) if isinstance(name, str) and name in properties]
    return [*first, *(name for name in properties if name not in first)]


def _options(schema: Schema) -> tuple[Option, ...]:
    if "const" in schema:
        pairs = [(schema["const"], "")]
    elif "enum" in schema:
        pairs = [(value, "") for value in as_list(schema["enum"])]
    else:
        offered = alternatives(schema)
        if not offered or any("const" not in each for each in offered):
            return ()
        pairs = [(each["const"], _text(each, "title")) for each in offered]
    is_plain = all(isinstance(value, str) and value for value, _ in pairs)
    tokens = {value if is_plain else json_text(value): (value, title) for value, title in pairs}
    return tuple(Option(token, value, title or _told(value)) for token, (value, title) in tokens.items())


def _told(value: Json) -> str:
    match value:
        case str():
            return value or "(empty)"
        case bool():
            return "Yes" if value else "No"
        case None:
            return "None"
        case _:
            return json_text(value)


def _text_field(schema: Schema, key: str, is_required: bool, default: Json | UnsetType) -> TextField:
    kind = _TEXT_KINDS.get(_text(schema, "format"), "text")
    is_long = _count(schema, "maxLength", 0) > _LONG_TEXT or _text(schema, "contentMediaType").startswith("text/")
    if kind == "text" and (
        is_long or schema.get("x-multiline") is True or (isinstance(default, str) and "\n" in default)
    ):
        kind = "multiline"
    return TextField(
        key=key, label="", is_required=is_required, default=default, kind=kind, placeholder=_example(schema)
    )  # fmt: skip


def _number_field(
    schema: Schema, key: str, is_required: bool, default: Json | UnsetType, *, is_integer: bool
) -> NumberField:
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if is_integer:
        least = above + 1 if least is None and isinstance(above, int) else least
        most = below - 1 if most is None and isinstance(below, int) else most
    return NumberField(
        key=key, label="", is_required=is_required, default=default, is_integer=is_integer, minimum=least,
        maximum=most, step=schema.get("multipleOf", 1 if is_integer else None), placeholder=_example(schema),
    )  # fmt: skip


def _example(schema: Schema) -> str:
    examples = as_list(schema.get("examples"))
    return _told(examples[0]) if examples else ""


def _text(schema: Schema, name: str) -> str:
    found = schema.get(name)
    return found if isinstance(found, str) else ""


def _count(schema: Schema, name: str, otherwise: int) -> int:
    found = schema.get(name)
    return int(found) if isinstance(found, int | float) and not isinstance(found, bool) else otherwise
