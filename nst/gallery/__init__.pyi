from . import serving as serving
from .publishing import (
    gallery_folder as gallery_folder,
)
from .publishing import (
    publish as publish,
)
from .publishing import (
    rebuild_gallery as rebuild_gallery,
)
from .site import (
    FOLDERS as FOLDERS,
)
from .site import (
    RECEIPT as RECEIPT,
)
from .site import (
    chunk_paths as chunk_paths,
)
from .site import (
    digests_in_receipt as digests_in_receipt,
)
from .site import (
    is_own as is_own,
)
from .site import (
    is_whole as is_whole,
)
from .site import (
    read_receipt as read_receipt,
)
from .site import (
    shown_pictures as shown_pictures,
)
