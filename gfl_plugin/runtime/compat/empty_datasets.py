"""A data set without an image ends in NumPy's "need at least one array to concatenate"; it gets an error that names it.

Versions: MMEngine <= 0.10.7. Can go when ``BaseDataset`` says which data set is empty.
"""

from __future__ import annotations

import functools

from ..errors import EmptyDatasetError


def close() -> str:
    from mmengine.dataset import BaseDataset

    plain = BaseDataset._serialize_data

    @functools.wraps(plain)
    def with_images(self: BaseDataset) -> tuple:
        if not self.data_list:
            raise EmptyDatasetError(_reason(self))
        return plain(self)

    BaseDataset._serialize_data = with_images
    return "a data set without an image is an error that names it"


def _reason(dataset: object) -> str:
    name = f"{type(dataset).__name__} of {dataset.ann_file}"
    if not dataset.filter_cfg or dataset.test_mode:  # test data is not filtered
        return f"{name} holds no image; is ann_file right?"
    classes = dataset.metainfo.get("classes", ())
    shown = ", ".join(map(str, classes[:5])) + (f", … ({len(classes)} in all)" if len(classes) > 5 else "")
    return (
        f"{name}: no image is left after filter_cfg={dict(dataset.filter_cfg)}. Its classes are {shown}; the "
        "annotations must have objects of these names (metainfo.classes). gfl-plugin check-data CONFIG lists theirs"
    )
