from . import metadata as metadata
from . import records as records
from .metadata import (
    MAX_ATTEMPTS as MAX_ATTEMPTS,
)
from .metadata import (
    OUTCOME_COLUMNS as OUTCOME_COLUMNS,
)
from .metadata import (
    PARAM_COLUMNS as PARAM_COLUMNS,
)
from .metadata import (
    ROW_COLUMNS as ROW_COLUMNS,
)
from .metadata import (
    CurvePoint as CurvePoint,
)
from .metadata import (
    LayerLoss as LayerLoss,
)
from .metadata import (
    Outcome as Outcome,
)
from .metadata import (
    Record as Record,
)
from .metadata import (
    Status as Status,
)
from .metadata import (
    failure as failure,
)
from .metadata import (
    metadata_from_parquet as metadata_from_parquet,
)
from .others import (
    OtherRows as OtherRows,
)
from .others import (
    is_gone as is_gone,
)
from .others import (
    lost_manifests as lost_manifests,
)
from .others import (
    manifest_name as manifest_name,
)
from .others import (
    manifests_before as manifests_before,
)
from .others import (
    manifests_in as manifests_in,
)
from .others import (
    other_rows as other_rows,
)
from .others import (
    read_account as read_account,
)
from .others import (
    with_other_rows as with_other_rows,
)
from .paths import (
    ATTEMPTS as ATTEMPTS,
)
from .paths import (
    GALLERY as GALLERY,
)
from .paths import (
    IMAGES as IMAGES,
)
from .paths import (
    INPUTS as INPUTS,
)
from .paths import (
    LOCKS as LOCKS,
)
from .paths import (
    METADATA as METADATA,
)
from .paths import (
    RUN as RUN,
)
from .paths import (
    SMALL_PREVIEW_PX as SMALL_PREVIEW_PX,
)
from .paths import (
    THUMBNAILS_PX as THUMBNAILS_PX,
)
from .paths import (
    THUMBS as THUMBS,
)
from .paths import (
    is_small_copy as is_small_copy,
)
from .paths import (
    is_transient as is_transient,
)
from .paths import (
    picture_path as picture_path,
)
from .paths import (
    preview_name as preview_name,
)
from .paths import (
    small_preview_name as small_preview_name,
)
from .paths import (
    thumbnail_paths as thumbnail_paths,
)
from .paths import (
    thumbnail_stem as thumbnail_stem,
)
from .paths import (
    thumbnails_of as thumbnails_of,
)
from .reading import read_metadata as read_metadata
from .reading import read_table as read_table
from .records import Brief as Brief
from .records import Ledger as Ledger
from .records import RecordTable as RecordTable
from .thumbnails import make_missing as make_missing
