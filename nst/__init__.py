"""Batch neural style transfer: a manifest of content, style and backbone in, a gallery out."""

from importlib.metadata import version

from nst.errors import (
    ConfigError,
    ImageError,
    ManifestError,
    NSTError,
    StorageError,
    WeightsError,
)
from nst.job import Job, PictureParams
from nst.settings import RunSettings

__all__ = [
    "ConfigError",
    "ImageError",
    "Job",
    "ManifestError",
    "NSTError",
    "PictureParams",
    "RunSettings",
    "StorageError",
    "WeightsError",
    "__version__",
]

__version__ = version("nst")
