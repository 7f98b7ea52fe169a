import pytest

from nst.redaction import redacted, secret_in


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://AKIDEXAMPLE:wJal/rXU+tn@bucket/a.png", "s3://***@bucket/a.png"),
        ("read https://user:pa:ss@host:9000/a?b=c now", "read https://***@host:9000/a?b=c now"),
        ("ftp://user@host/a", "ftp://***@host/a"),
        (
            "https://b.host/a.png?X-Amz-Algorithm=AWS4&X-Amz-Credential=AK%2F2026&X-Amz-Signature=0f&v=1",
            "https://b.host/a.png?X-Amz-Algorithm=AWS4&X-Amz-Credential=***&X-Amz-Signature=***&v=1",
        ),
        ("a?X-Amz-Security-Token=abc%2B", "a?X-Amz-Security-Token=***"),
        (
            "a?AWSAccessKeyId=x&Expires=1&Signature=y",
            "a?AWSAccessKeyId=***&Expires=1&Signature=***",
        ),
        ("a?token=t&amp;api_key=k", "a?token=***&amp;api_key=***"),
        ("https://host/a?sv=1&sig=abc%3D", "https://host/a?sv=1&sig=***"),
        ("Credential=AK/2026/s3, SignedHeaders=host, Signature=0f", None),
        ("the key AKIAIOSFODNN7EXAMPLE is known", "the key *** is known"),
        (
            "https://d.cloudfront.net/a?Expires=1&Signature=s~1&Key-Pair-Id=APKA1",
            "https://d.cloudfront.net/a?Expires=1&Signature=***&Key-Pair-Id=***",
        ),
        (
            "https://b.host/a?X-Goog-Signature=0f&x=1&GoogleAccessId=me@b.org",
            "https://b.host/a?X-Goog-Signature=***&x=1&GoogleAccessId=***",
        ),
        ("https://h/a?x=1;auth=k,https", "https://h/a?x=1;auth=***"),
        ("ftp://h?u=1 then ftp://me:12@h", "ftp://h?u=1 then ftp://***@h"),
        ("AccountName=a;AccountKey=abc==", "AccountName=a;AccountKey=***"),
        ("at https://p/?url=https%3A%2F%2Fh%2Fa%3Ftoken%3Dabc now", "at *** now"),
        ("https://p/a%20b?token=abc%2B", "https://p/a%20b?token=***"),
    ],
)
def test_credentials_are_hidden(text: str, expected: str | None) -> None:
    hidden = redacted(text)
    assert hidden == (expected or "Credential=***, SignedHeaders=host, Signature=***")
    assert redacted(hidden) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/a:b/c@2x.png",
        "http://127.0.0.1:9000/bucket/user@home.png",
        "cannot read /tmp/a@b/c.png: there is no such file or object",
        "expected token=3, found signature",
        "s3://bucket/keys/AKIA.png",
        "steps=300, key a=b",
        "signature=Monet",
        "sig=0.5",
        "Q&A;key=Cm",
        "s3://bucket/100%?size=2.png",
        "why? key=Cm",
    ],
)
def test_what_is_no_credential_stays(text: str) -> None:
    assert redacted(text) == text
    assert secret_in(text) is None


def test_work_grows_with_the_length_of_a_text_and_no_faster() -> None:
    """Of what takes the square of its length, these would take minutes."""
    for start, part in (
        ("s3://b/", "?&"),
        ("", "://a:"),
        ("", "://1:2/"),
        ("", "a.b."),
        ("?", "token"),
        ("", "credential="),
        ("", "AKIA-"),
        ("", "%3D%3F"),
    ):
        text = start + part * (200_000 // len(part))
        assert redacted(text) == text
        assert secret_in(text) is None


@pytest.mark.parametrize(
    "name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
)
def test_the_environments_credentials_are_hidden_anywhere(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "canary/secret+1")
    assert redacted("it said canary/secret+1!") == "it said ***!"
    assert redacted("a?b=canary%2Fsecret%2B1") == "a?b=***"
    monkeypatch.setenv(name, "test")
    assert redacted("/tmp/test/a.png") == "/tmp/test/a.png"


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "x ASIAIOSFODNN7EXAMPLE.",
        "x-amz-signature=0f",
        "AWSAccessKeyId=abc",
        "a?Signature=abc",
        "a?b=c&sig=abc",
        "a?token=***",
        "s3://***@bucket",
        "SharedAccessSignature=abc",
        "s3://me:secret@bucket",
        "a?token=abc",
        "Credential=AK/2026, SignedHeaders=host, Signature=0f",
        "?u=https%3A%2F%2Fh%3Fsig%3Dabc",
        "X-Goog-Signature=12",
        "a?api_key=x",
    ],
)
def test_credentials_are_found_alone_and_among_others(text: str) -> None:
    assert secret_in(text) is not None
    assert secret_in(f"a\n{text}\nb") == secret_in(text)


@pytest.mark.parametrize(
    "text", ["", "a=b", "me@home", "Asia", "http://127.0.0.1:9000\na@b", "signature", "design=1"]
)
def test_what_is_none_is_not_found(text: str) -> None:
    assert secret_in(text) is None
