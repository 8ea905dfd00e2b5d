"""facectl's runtime: any exported model, on photographs, with the answers it was proved to give."""

__version__ = "0.1.0"
