"""Reads the images of a data set and reports those that cannot be read instead of stopping at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Dataset

from ...runtime.errors import in_a_line


@dataclass(frozen=True)
class Unreadable:
    """An image that the pipeline could not read."""

    number: int  # in the data set
    why: str  # one line


@dataclass(frozen=True)
class ReadBatch:
    """The images of a batch that could be read, and the others."""

    numbers: tuple[int, ...]  # in the data set, of those that could be read
    batch: Any  # as the data loader of the config would give it; None if none could be read
    unreadable: tuple[Unreadable, ...]


class ReadableImages(Dataset):
    """Some images of a data set; an image whose pipeline fails is an :class:`Unreadable`.

    Args:
        dataset: the data set.
        numbers: of the images.
    """

    def __init__(self, dataset: Dataset, numbers: Sequence[int]) -> None:
        self._dataset, self._numbers = dataset, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> tuple[int, Any]:
        """Read an image.

        Args:
            index: of its number.

        Returns:
            Its number, and what the pipeline gives, or an Unreadable.
        """
        number = self._numbers[index]
        try:
            return number, self._dataset[number]
        # Readers of images fail with OSError, AssertionError (MMCV), cv2.error, and a bare Exception (MMEngine).
        except Exception as error:
            return number, Unreadable(number, in_a_line(error))


def readable_loader(loader: DataLoader, numbers: Sequence[int]) -> DataLoader:
    """A data loader of some images that gives a :class:`ReadBatch` per batch.

    Args:
        loader: the data loader of the config.
        numbers: of the images.

    Returns:
        The loader, with the same size of batches and number of workers.
    """
    return DataLoader(
        ReadableImages(loader.dataset, numbers),
        batch_size=loader.batch_size or 1,
        num_workers=loader.num_workers,
        collate_fn=Collate(loader.collate_fn),
    )


@dataclass(frozen=True)
class Collate:
    """Joins the images of a batch that could be read."""

    inner: Callable[[Sequence], Any]  # of the config's data loader

    def __call__(self, items: Sequence[tuple[int, Any]]) -> ReadBatch:
        """Join images.

        Args:
            items: of :class:`ReadableImages`.

        Returns:
            The batch.
        """
        good = [(number, sample) for number, sample in items if not isinstance(sample, Unreadable)]
        return ReadBatch(
            numbers=tuple(number for number, _ in good),
            batch=self.inner([sample for _, sample in good]) if good else None,
            unreadable=tuple(sample for _, sample in items if isinstance(sample, Unreadable)),
        )
