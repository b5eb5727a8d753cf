"""The columns of a drop as a Table Schema describes them: values only.

It may not read JSON (`etl.transform.schema`) nor judge cells (`etl.transform.rules`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """One column; docs/table-schema.md says what each word means."""

    name: str
    type: str = "string"
    format: str = "default"
    required: bool = False
    unique: bool = False
    enum: tuple[str, ...] | None = None
    """Canonical texts, as `Meaning.text` gives them."""
    pattern: str | None = None
    min_length: int | None = None
    max_length: int | None = None
    minimum: str | None = None
    """Canonical text, like `maximum`."""
    maximum: str | None = None
    decimal_char: str | None = None
    """None leaves it to the feed's dialect."""
    group_char: str = ""
    bare_number: bool = True
    true_values: tuple[str, ...] = ("true", "True", "TRUE", "1")
    false_values: tuple[str, ...] = ("false", "False", "FALSE", "0")


@dataclass(frozen=True, slots=True)
class TableSchema:
    """The columns of a drop, in the schema's order."""

    fields: tuple[Field, ...]
    missing_values: tuple[str, ...] = ("",)
    primary_key: tuple[str, ...] = ()

    def field(self, name: str) -> Field | None:
        """Return the field called `name`, None when there is none."""
        return next((field for field in self.fields if field.name == name), None)
