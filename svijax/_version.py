"""The version of the package, read by the build and by ``svijax.__version__``."""

__version__ = "0.1.0"
