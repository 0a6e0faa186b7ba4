"""Integers that JSON readers would round: written as decimal strings, read from strings or integers.

JavaScript and many others hold JSON numbers in 53 bits. Whatever can outgrow them (`_uwh`, `_units`, `_wei`, ids of
orders) is always a string, so that a reader need not look at the value to know its type.
"""

from typing import Annotated

from pydantic import PlainSerializer, WithJsonSchema

Wide = Annotated[
    int,
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^-?[0-9]{1,78}$"}),
]
"""An integer of any size; a decimal string in JSON."""
