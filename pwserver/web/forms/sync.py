"""The form of a link: its fields follow from the settings model of its kind, so a new kind brings its own form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from flask import request
from pydantic.fields import FieldInfo

from pwserver.connectors.base import Kind
from pwserver.connectors.kinds import LINK_KINDS
from pwserver.core.errors import Invalid
from pwserver.web.forms import Form

WIDE = frozenset({"path", "host_key"})


@dataclass(frozen=True, slots=True)
class Field:
    """One field as the page draws it. ``input``: text, number, select or check."""

    name: str
    label: str
    help: str
    input: str
    mono: bool
    placeholder: str
    options: Sequence[tuple[str, str]]
    required: bool
    default: Any

    @property
    def wide(self) -> bool:
        return self.name in WIDE or self.input == "select"


def kind_of(name: str) -> Kind:
    """The kind that an address or a form names. Raises :class:`Invalid`."""
    if name not in LINK_KINDS:
        raise Invalid("There is no such kind of link. Nothing was saved.")
    return LINK_KINDS[name]


def fields_of(kind: Kind) -> list[Field]:
    return [_field(name, info) for name, info in kind.settings.model_fields.items()]


def _field(name: str, info: FieldInfo) -> Field:
    extra: Mapping[str, Any] = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    options = [(str(value), str(words)) for value, words in extra.get("choices", ())]
    if not options and get_origin(info.annotation) is Literal:
        options = [(str(value), str(value).capitalize()) for value in get_args(info.annotation)]
    kinds = {bool: "check", int: "number"}
    return Field(
        name=name,
        label=info.title or name.replace("_", " ").capitalize(),
        help=info.description or "",
        input="select" if options else kinds.get(info.annotation, "text"),  # type: ignore[arg-type]
        mono=bool(extra.get("mono", not options)),
        placeholder=str(extra.get("placeholder", "")),
        options=options,
        required=info.is_required(),
        default="" if info.is_required() else info.default,
    )


def link_form(kind: Kind, stored: Mapping[str, Any] | None = None, **more: Any) -> Form:
    """The form as first shown: the stored settings, or the kind's defaults."""
    values = {field.name: field.default for field in fields_of(kind)} | dict(stored or {})
    return Form.of(**values, **({"account_link_id": "", "linked_entry_id": "", "reset_allowed": False} | more))


def typed_link(kind: Kind) -> Form:
    """The form as sent."""
    fields = fields_of(kind)
    texts = [field.name for field in fields if field.input != "check"]
    ticks = [field.name for field in fields if field.input == "check"]
    return Form.typed(*texts, "account_link_id", "linked_entry_id", ticks=(*ticks, "reset_allowed"))


def settings_of(kind: Kind, form: Form) -> dict[str, Any]:
    """What was typed into the kind's own fields; the service checks it."""
    return {field.name: form[field.name] for field in fields_of(kind)}


def revision() -> int:
    """The chain's revision that the form was made from; a missing one is stale."""
    text = request.form.get("revision", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
