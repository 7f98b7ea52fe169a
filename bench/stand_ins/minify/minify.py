"""Of tdewolff-minify what nst uses; the text stays as it is, and so larger than it would be."""


def string(kind: str, text: str) -> str:
    """`text`, which is a script or a style sheet."""
    del kind
    return text
