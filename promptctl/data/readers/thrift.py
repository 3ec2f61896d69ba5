"""Thrift: values of its compact protocol, in which a Parquet file says where its pages lie and how long they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_DEEPEST = 16  # values in one another; those of Parquet are seven


class Thrift:
    """Values one after another, which take no more memory than some of their bytes.

    raises   IndexError, ValueError where they are broken
    """

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._depth = 0
        self.at = 0

    def struct(self) -> dict[int, Any]:
        """The values of a struct by the number of their field."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._whole()
            kind = head & 15
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind)
        return fields

    def _value(self, kind: int) -> Any:
        if kind not in _READ or self._depth == _DEEPEST:
            raise ValueError("a value of no kind")
        self._depth += 1
        value = _READ[kind](self)
        self._depth -= 1
        return value

    def _list(self) -> list[Any]:
        head = self._byte()
        count, kind = self._unsigned() if head >> 4 == 15 else head >> 4, head & 15
        if count > len(self._data) - self.at:
            raise ValueError("a list longer than its bytes")
        return [self._value(_BYTE if kind in (_TRUE, _FALSE) else kind) for _ in range(count)]

    def _binary(self) -> memoryview:
        length = self._unsigned()
        return self._bytes(length)

    def _bytes(self, count: int) -> memoryview:
        value, self.at = self._data[self.at : self.at + count], self.at + count
        if len(value) < count:
            raise IndexError("text longer than its bytes")
        return value

    def _byte(self) -> int:
        value, self.at = self._data[self.at], self.at + 1
        return value

    def _whole(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)

    def _unsigned(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number that does not end")


_READ: Mapping[int, Callable[[Thrift], Any]] = {
    _BYTE: Thrift._byte,
    _I16: Thrift._whole,
    _I32: Thrift._whole,
    _I64: Thrift._whole,
    _DOUBLE: lambda one: one._bytes(8),
    _BINARY: Thrift._binary,
    _LIST: Thrift._list,
    _SET: Thrift._list,
    _STRUCT: Thrift.struct,
}
