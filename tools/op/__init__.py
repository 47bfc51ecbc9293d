"""The generators behind tools/opgen.py."""
