"""Whether a folder of photographs can be trusted: scan → near → findings → what is shown, and a cleaned copy."""
