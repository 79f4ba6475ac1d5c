"""Conversion of values to what JSON can hold."""

from enum import Enum
from typing import Any


def plain(value: Any) -> Any:
    """Turn a configuration value into what JSON can hold."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.name
    if hasattr(value, "item"):
        return value.item()
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
