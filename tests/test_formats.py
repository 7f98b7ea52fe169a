import pytest
from PIL import Image

from nst.pictures import formats
from nst.pictures.formats import Format
from tests.helpers import encoded, picture


def sound(image_format: str) -> bytes:
    return encoded(Image.fromarray(picture(48, 64)), image_format)


@pytest.mark.parametrize("name", formats.READ)
def test_what_is_read_is_told_by_its_first_bytes(name: str) -> None:
    assert formats.format_of(sound(name)) == Format(name)


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC", "image_unsupported"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC", "image_unsupported"),
        (b"\xff\x0a\xfa\x7f", "JPEG XL", "image_unsupported"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL", "image_unsupported"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a Canon CR3 raw", "image_unsupported"),
        (b"II*\0\x10\0\0\0CR\2\0", "a Canon CR2 raw", "image_unsupported"),
        (b"FUJIFILMCCD-RAW 0201", "a Fujifilm raw", "image_unsupported"),
        (b"\0\0\1\0\1\0\0\0", "an icon", "image_unsupported"),
        (b"%PDF-1.7\n", "a PDF document", "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript document", "not_an_image"),
        (b"\xc5\xd0\xd3\xc6\x1e\0\0\0", "a PostScript document", "not_an_image"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg>", "an SVG drawing", "not_an_image"),
        (b"<!-- a --><svg xmlns='...'>", "an SVG drawing", "not_an_image"),
        (b"\n<!DOCTYPE html><html>", "a web page", "not_an_image"),
        (b"<?xml version='1.0'?><Error>", "an XML document", "not_an_image"),
        (b"\x7fELF\2\1\1\0", "a program", "not_an_image"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "a film", "not_an_image"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer", "not_an_image"),
    ],
)
def test_what_is_not_read_is_named(data: bytes, name: str, reason: str) -> None:
    found = formats.format_of(data)
    assert found is not None
    assert found.name.startswith(name)
    assert found.reason == reason


@pytest.mark.parametrize("data", [b"", b"B", b"BM and other letters that begin a text", b"<p>"])
def test_what_is_not_known_has_no_name(data: bytes) -> None:
    assert formats.format_of(data) is None


@pytest.mark.parametrize("name", formats.READ)
def test_where_a_file_says_it_ends_is_compared_with_where_it_does(name: str) -> None:
    data = sound(name)
    assert not formats.is_cut_short(data, name)
    for length in (20, len(data) // 2, len(data) - 1):
        assert formats.is_cut_short(data[:length], name), length


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg"])
@pytest.mark.parametrize("is_big", [False, True])
def test_a_tiff_is_followed_to_its_pixels(compression: str, is_big: bool) -> None:
    image = Image.fromarray(picture(48, 64))
    data = encoded(image, "TIFF", compression=compression, big_tiff=is_big)
    assert not formats.is_cut_short(data, "TIFF")
    assert formats.is_cut_short(data[:-1], "TIFF")


@pytest.mark.parametrize(
    "options", [{}, {"lossless": True}, {"xmp": b"<x/>"}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}]
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (300, 200), (16_383, 2)])
def test_the_size_of_a_webp_is_in_its_first_bytes(
    size: tuple[int, int], mode: str, options: dict[str, object]
) -> None:
    data = encoded(Image.new(mode, size, (9, 9, 9, 99)[: len(mode)]), "WEBP", **options)
    expected = None if "exif" in options else size[::-1]
    assert formats.webp_size(data[:30]) == expected
    assert formats.webp_size(data[:29]) is None
