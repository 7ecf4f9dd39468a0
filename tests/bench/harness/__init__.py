"""The benchmark's harness: rows.py says what is measured, servers.py on what, measure.py how, table.py how it is shown."""
