"""Faces: found, aligned, compared, and kept in galleries."""
