"""facectl's trainer: photographs in, a run folder out."""
