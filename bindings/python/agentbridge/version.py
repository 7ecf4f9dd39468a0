"""The package's version, that of the bridge's release."""
__version__ = "0.1.0"
