"""Datasets without images.

Problem: a dataset without images raises NumPy's "need at least one array to concatenate", which names neither the
    dataset nor the cause.
Versions: MMEngine <= 0.10.7.
Change: such a dataset raises an EmptyDatasetError that names file, filter and classes.
Not needed when: BaseDataset names the empty dataset.
"""

from __future__ import annotations

import functools

from ..errors import EmptyDatasetError


def close() -> str:
    """Check for images before MMEngine serializes a dataset.

    Returns:
        What was changed.
    """
    from mmengine.dataset import BaseDataset

    plain = BaseDataset._serialize_data

    @functools.wraps(plain)
    def with_images(self: BaseDataset) -> tuple:
        if not self.data_list:
            raise EmptyDatasetError(_reason(self))
        return plain(self)

    BaseDataset._serialize_data = with_images
    return "a dataset without images raises an error that names it"


def _reason(dataset: object) -> str:
    name = f"{type(dataset).__name__} of {dataset.ann_file}"
    if not dataset.filter_cfg or dataset.test_mode:  # test data is not filtered
        return f"{name} has no images; check ann_file"
    classes = dataset.metainfo.get("classes", ())
    shown = ", ".join(map(str, classes[:5])) + (f", … ({len(classes)} in total)" if len(classes) > 5 else "")
    return (
        f"{name}: no images are left after filter_cfg={dict(dataset.filter_cfg)}. Its classes are {shown}; the "
        "annotations must use these names (metainfo.classes). gfl-plugin check-data CONFIG lists the names in the "
        "annotations"
    )
