"""TRL's side runs where TRL is installed, and is no module of these tests."""

collect_ignore = ["trl_side.py"]
