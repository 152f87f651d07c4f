"""Align, distil and match models: every method is five choices."""
