"""The trainer's commands, handed to runtime by entry points."""
