"""Parts of isagen.py: rows read and checked, encodings as patterns, tables as C."""
