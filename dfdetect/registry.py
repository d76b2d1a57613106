"""A name → object table that refuses duplicates and answers typing mistakes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from dfdetect.errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """The only place that knows names of one kind of thing.

    Example:
        >>> shapes: Registry[int] = Registry("shape")
        >>> _ = shapes.register("square")(4)
        >>> shapes.get("square")
        4
        >>> shapes.get("sqare")
        Traceback (most recent call last):
        ...
        dfdetect.errors.UsageError: unknown shape 'sqare'; did you mean 'square'? Known: square
    """

    def __init__(self, noun: str) -> None:
        """Make an empty registry of things called `noun` in messages."""
        self.noun = noun
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that files its target under `name`.

        Raises:
            ValueError: The name is taken; two modules must not fight over one name.
        """

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.noun} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def get(self, name: str) -> T:
        """Return the entry called `name`.

        Raises:
            UsageError: There is none; the nearest names are suggested.
        """
        if name in self._entries:
            return self._entries[name]
        near = difflib.get_close_matches(name, self._entries, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise UsageError(f"unknown {self.noun} {name!r}{hint} Known: {', '.join(self.names())}")

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted."""
        return tuple(sorted(self._entries))

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self._entries)
