"""The benchmark's harness: rows.py says what is measured, servers.py on what, measure.py how, table.py how it is shown."""
import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2]))  # ports.py
