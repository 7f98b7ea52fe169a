"""The product on a GPU: `python -m bench.gpu` measures all of it in one command, within minutes."""
