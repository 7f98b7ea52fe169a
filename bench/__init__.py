"""The benchmark: `python -m bench` measures nst against the peer, neural-style-pt, at equal quality."""
