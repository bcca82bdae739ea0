"""Records of trials, packed: they take a twentieth of what they take as objects.

A million executions with texts of a thousand characters are 0.4 GB. A record is unpacked each time
it is looked at, so what somebody does to it changes nothing here.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar, overload

from orchestrator.dataset.schema import TrialRecord

T = TypeVar("T")

LEVEL = 1
"""zlib's fastest: a higher one saves a few percent and takes several times as long."""


class Packer(Generic[T]):
    """Packs values that are alike: each is compressed with the first one as its dictionary."""

    def __init__(self) -> None:
        self._like = b""

    def pack(self, value: T) -> bytes:
        """A value in few bytes."""
        plain = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        if not self._like:
            self._like = plain
        packer = zlib.compressobj(LEVEL, zdict=self._like)
        return packer.compress(plain) + packer.flush()

    def unpack(self, packed: bytes) -> T:
        """A value as it was packed."""
        unpacker = zlib.decompressobj(zdict=self._like)
        value: T = pickle.loads(unpacker.decompress(packed))  # noqa: S301 - packed in this process
        return value


class PackedRecords(Sequence[TrialRecord]):
    """Records in the order in which they were added."""

    def __init__(self) -> None:
        self._packed: list[bytes] = []
        self._packer: Packer[TrialRecord] = Packer()

    def append(self, record: TrialRecord) -> None:
        """Add a record at the end."""
        self._packed.append(self._packer.pack(record))

    def replace(self, place: int, record: TrialRecord) -> None:
        """Put a record in another one's place."""
        self._packed[place] = self._packer.pack(record)

    def __len__(self) -> int:
        """How many records."""
        return len(self._packed)

    def __iter__(self) -> Iterator[TrialRecord]:
        """The records, one at a time."""
        return map(self._packer.unpack, self._packed)

    @overload
    def __getitem__(self, index: int) -> TrialRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TrialRecord]: ...
    def __getitem__(self, index: int | slice) -> TrialRecord | Sequence[TrialRecord]:
        """One record, or several."""
        if isinstance(index, slice):
            return PickedRecords(self, range(len(self))[index])
        return self._packer.unpack(self._packed[index])


class PickedRecords(Sequence[TrialRecord]):
    """Some of a sequence's records, in another order, made as they are looked at."""

    def __init__(self, records: Sequence[TrialRecord], places: Sequence[int]) -> None:
        """`places`: those of the picked ones in `records`."""
        self._records = records
        self._places = places

    def __len__(self) -> int:
        """How many records."""
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> TrialRecord: ...
    @overload
    def __getitem__(self, index: slice) -> PickedRecords: ...
    def __getitem__(self, index: int | slice) -> TrialRecord | PickedRecords:
        """One record, or fewer records."""
        if isinstance(index, slice):
            return PickedRecords(self._records, self._places[index])
        return self._records[self._places[index]]
