from . import listings as listings
from . import tables as tables
from .files import Found as Found
from .files import ScratchFile as ScratchFile
from .files import digest_of_file as digest_of_file
from .stores import (
    absolute as absolute,
)
from .stores import (
    browsable as browsable,
)
from .stores import (
    check_writable as check_writable,
)
from .stores import (
    delete as delete,
)
from .stores import (
    delete_all as delete_all,
)
from .stores import (
    exists as exists,
)
from .stores import (
    glob as glob,
)
from .stores import (
    is_leftover as is_leftover,
)
from .stores import (
    is_pattern as is_pattern,
)
from .stores import (
    is_same_anywhere as is_same_anywhere,
)
from .stores import (
    join as join,
)
from .stores import (
    list_objects as list_objects,
)
from .stores import (
    list_sizes as list_sizes,
)
from .stores import (
    list_tree as list_tree,
)
from .stores import (
    parent as parent,
)
from .stores import (
    read as read,
)
from .stores import (
    read_bytes as read_bytes,
)
from .stores import (
    read_into as read_into,
)
from .stores import (
    read_start as read_start,
)
from .stores import (
    relative_link as relative_link,
)
from .stores import (
    resolve as resolve,
)
from .stores import (
    update as update,
)
from .stores import (
    write_bytes as write_bytes,
)
from .stores import (
    write_file as write_file,
)
from .tables import (
    BOOL as BOOL,
)
from .tables import (
    FLOAT32 as FLOAT32,
)
from .tables import (
    FLOAT64 as FLOAT64,
)
from .tables import (
    INSTANT as INSTANT,
)
from .tables import (
    INT32 as INT32,
)
from .tables import (
    INT64 as INT64,
)
from .tables import (
    TEXT as TEXT,
)
from .tables import (
    Coded as Coded,
)
from .tables import (
    Column as Column,
)
from .tables import (
    ColumnReader as ColumnReader,
)
from .tables import (
    Nested as Nested,
)
from .tables import (
    RowReader as RowReader,
)
from .tables import (
    Table as Table,
)
from .tables import (
    TableError as TableError,
)
from .tables import (
    Type as Type,
)
from .tables import (
    are_equal as are_equal,
)
from .tables import (
    arrow_table as arrow_table,
)
from .tables import (
    column_names as column_names,
)
from .tables import (
    find as find,
)
from .tables import (
    joined as joined,
)
from .tables import (
    last_of_each as last_of_each,
)
from .tables import (
    list_of as list_of,
)
from .tables import (
    parquet_rows as parquet_rows,
)
from .tables import (
    read_columns as read_columns,
)
from .tables import (
    read_texts as read_texts,
)
from .tables import (
    release_memory as release_memory,
)
from .tables import (
    rows_in_order as rows_in_order,
)
from .tables import (
    rows_of_frame as rows_of_frame,
)
from .tables import (
    rows_with as rows_with,
)
from .tables import (
    side_by_side as side_by_side,
)
from .tables import (
    struct_of as struct_of,
)
from .tables import (
    table_of as table_of,
)
from .tables import (
    values_at as values_at,
)
from .tables import (
    with_column as with_column,
)
from .tables import (
    with_texts as with_texts,
)
from .tables import (
    write_parquet as write_parquet,
)
