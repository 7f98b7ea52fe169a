"""The benchmark: `python -m bench` compares nst with neural-style-pt, in time and pictures."""
