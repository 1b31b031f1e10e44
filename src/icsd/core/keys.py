"""Keys of tables: which of them are doubled, and which row groups can hold them."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from icsd.core.text import truncated


def may_hold(group: pq.RowGroupMetaData, key: str, wanted: pa.Array) -> bool:
    """Return whether a row group can hold one of the `wanted` values, by the least and the greatest of its column."""
    columns = (group.column(number) for number in range(group.num_columns))
    known = next((column.statistics for column in columns if column.path_in_schema == key), None)
    if not len(wanted) or known is None or not known.has_min_max or wanted.null_count:
        return bool(len(wanted))
    least, greatest = pc.min_max(wanted).as_py().values()
    if type(least) is not type(known.min):
        return True
    return bool(least <= known.max and greatest >= known.min)


def doubled_key(data: pa.Table, key: Sequence[str]) -> str:
    """The first doubled key as text; empty if all are unique."""
    if len(data) == 0 or (len(key) == 1 and _differ(data[key[0]])) or _ascend(data, key):
        return ""
    counts = data.group_by(list(key)).aggregate([([], "count_all")]).sort_by([("count_all", "descending")])
    first = counts.slice(0, 1).to_pylist()[0]
    return truncated(", ".join(str(first[name]) for name in key)) if first["count_all"] > 1 else ""


def _ascend(data: pa.Table, key: Sequence[str]) -> bool:
    """Return whether each row's key is greater than the one before: counting needs ten times the memory."""
    greater, equal = pa.scalar(False), pa.scalar(True)
    for name in key:
        before, after = data[name][:-1], data[name][1:]
        greater = pc.or_(greater, pc.and_(equal, pc.less(before, after)))
        equal = pc.and_(equal, pc.equal(before, after))
    return bool(pc.all(greater, skip_nulls=False).as_py())


def _differ(ids: pa.ChunkedArray) -> bool:
    """Return whether these are integers that all differ; sorting needs a fifth of the memory of counting."""
    return pa.types.is_integer(ids.type) and bool((np.diff(np.sort(ids.to_numpy())) > 0).all())
