"""Pictures (41 to 58)."""

import hashlib
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from nst import storage
from nst.pictures import formats, images
from nst.storage.files import Found
from tests import forged
from tests.catalogue import Bench, Case, Letter, Seen, bad
from tests.helpers import encoded, picture

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def _run(
    bench: Bench, files: Mapping[str, bytes], *arguments: str, column: str = "content"
) -> Seen:
    """Each of these files as the content, or the style, of a row that is called by its number."""
    bench.inputs.mkdir()
    for name, data in files.items():
        (bench.inputs / name).write_bytes(data)
    rows = [bad(**{"id": f"bad{n}", column: name}) for n, name in enumerate(files)]
    return bench.run(rows, *arguments)


def _refused(
    bench: Bench,
    files: Mapping[str, bytes],
    reason: str,
    *,
    said: str = "",
    column: str = "content",
) -> Letter:
    """Every one of these files fails its row for this reason, and the message says this."""
    seen = _run(bench, files, column=column)
    for n, name in enumerate(files):
        (outcome,) = (r.outcome for r in seen.records if r.outcome.id == f"bad{n}")
        assert outcome.reason == reason, f"{name}: {outcome.error}"
        assert said in str(outcome.error)
    assert [path.stem for path in (bench.output / "images").iterdir()] == ["good"]
    return seen.letter


def _shown(bench: Bench, data: bytes) -> NDArray[np.uint8]:
    """An input [H,W,3] as the gallery shows it, which is how it was read."""
    name = hashlib.sha256(data).hexdigest()[:16]
    with Image.open(bench.output / f"inputs/{name}.jpg") as image:
        return np.asarray(image)


def _in_colour(
    bench: Bench, expected: Mapping[str, tuple[bytes, Sequence[float]]], *arguments: str
) -> Letter:
    """Each of these files is read with this mean colour, within 3 of 255."""
    seen = _run(bench, {name: data for name, (data, _) in expected.items()}, *arguments)
    for name, (data, colour) in expected.items():
        found = _shown(bench, data).mean(axis=(0, 1))
        assert np.abs(found - colour).max() <= 3, f"{name}: expected {colour}, found {found}"
    return seen.letter


def _flat(mode: str, colour: Any, image_format: str = "PNG", **options: Any) -> bytes:
    return encoded(Image.new(mode, (40, 40), colour), image_format, **options)


def _sound(image_format: str) -> bytes:
    return encoded(Image.fromarray(picture(48, 64)), image_format)


def _zero_bytes(bench: Bench) -> Letter:
    return _refused(bench, {"empty.png": b""}, "not_an_image", said="found 0 bytes")


def _few_pixels(bench: Bench) -> Letter:
    sizes = ((1, 1), (2, 3), (5, 5), (9, 9))
    return _run(
        bench, {f"{h}x{w}.png": encoded(Image.fromarray(picture(h, w))) for h, w in sizes}
    ).letter


def _long_and_thin(bench: Bench) -> Letter:
    files = {
        "1x5000.png": encoded(Image.fromarray(picture(1, 5000))),
        "5000x1.png": encoded(Image.fromarray(picture(5000, 1))),
        "3x62728.jpg": encoded(Image.fromarray(picture(3, 62728)), "JPEG"),
    }
    return _refused(bench, files, "image_too_small", said="use a larger size")


def _style_of_few_pixels(bench: Bench) -> Letter:
    files = {f"{n}.png": encoded(Image.fromarray(picture(n, n))) for n in (1, 4, 9)}
    return _refused(bench, files, "image_too_small", column="style")


def _mask_of_another_shape(bench: Bench) -> Letter:
    files = {"wide.png": encoded(Image.fromarray(picture(20, 60)))}
    return _refused(bench, files, "image_mismatched", said="found 20 x 60; crop it", column="mask")


_QUARTERS = Image.new("RGB", (60, 40), "white")
for _place, _colour in (((0, 0), RED), ((30, 0), GREEN), ((0, 20), BLUE)):
    _QUARTERS.paste(_colour, (*_place, _place[0] + 30, _place[1] + 20))
_LAID = {
    1: _QUARTERS,
    2: _QUARTERS.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: _QUARTERS.transpose(Image.Transpose.ROTATE_180),
    4: _QUARTERS.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: _QUARTERS.transpose(Image.Transpose.TRANSPOSE),
    6: _QUARTERS.transpose(Image.Transpose.ROTATE_90),
    7: _QUARTERS.transpose(Image.Transpose.TRANSVERSE),
    8: _QUARTERS.transpose(Image.Transpose.ROTATE_270),
}
_XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def _laid_down() -> Iterator[tuple[str, bytes]]:
    for orientation, image in _LAID.items():
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        # AVIF says it in boxes of its own, irot and imir, TIFF in a tag.
        for image_format in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
            data = encoded(image, image_format, exif=exif)
            yield f"{orientation}.{image_format.lower()}", data
    yield "xmp.jpg", encoded(_LAID[6], "JPEG", xmp=_XMP)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", _XMP)
    yield "xmp.png", encoded(_LAID[6], pnginfo=info)


def _orientations(bench: Bench) -> Letter:
    files = dict(_laid_down())
    seen = _run(bench, files)
    for name, data in files.items():
        shown = _shown(bench, data)
        assert shown.shape == (40, 60, 3), name
        corners = shown[[5, 5, 35, 35], [5, 55, 5, 55]].astype(int)
        assert np.abs(corners - [RED, GREEN, BLUE, (255,) * 3]).max() < 60, name
    for record in seen.records[1:]:
        assert (record.outcome.height, record.outcome.width) == (32, 48)
    return seen.letter


def _broken_exif(bench: Bench) -> Letter:
    junk = b"Exif\0\0" + b"\xff" * 60
    loop = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\0\0\0\0"
    files = {
        f"{n}.{image_format.lower()}": encoded(_QUARTERS, image_format, exif=exif)
        for n, exif in enumerate((junk, loop, b"Exif\0\0II*\0\xff\xff\xff\xff"))
        for image_format in ("JPEG", "PNG", "WEBP")
    }
    # A pointer to further tags that leads behind the end of the file.
    tags = {256: 40, 257: 40, 258: 8, 259: 1, 262: 1, 277: 1, 34665: 1 << 20}
    files["pointer.tiff"] = forged.tiff(tags, bytes(40 * 40))
    return _run(bench, files).letter


def _private_metadata(bench: Bench, image_format: str) -> Letter:
    secrets = (b"GPS-SECRET", b"MAKER-SECRET", b"XMP-SECRET", b"ICC-SECRET")
    gps, maker, xmp, icc = secrets
    exif = Image.Exif()
    exif[ExifTags.Base.MakerNote] = maker
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAreaInformation] = gps
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + icc * 60_000
    data = encoded(_QUARTERS, "JPEG", exif=exif, xmp=xmp, icc_profile=profile)
    assert all(secret in data for secret in secrets)
    seen = _run(bench, {"private.jpg": data}, "--format", image_format)
    for path in bench.output.rglob("*"):
        if path.is_file():
            assert not any(secret in path.read_bytes() for secret in secrets), path
    return seen.letter


def _ink(bench: Bench) -> Letter:
    """Adobe's inks are inverted; ITU-R BT.601 codes the inverted cyan of YCCK's red."""
    ycck = bytearray(_flat("CMYK", (255 - 179, 255 - 171, 255 - 1, 0), "JPEG", quality=100))
    ycck[ycck.index(b"Adobe") + 11] = 2
    # 51.6, 31.5 and 26.2 are this clay in the CIELAB of D50; L fills the byte, a and b are shifted.
    clay, clay_in_lab = (180, 100, 80), (132, 128 + 32, 128 + 26)
    return _in_colour(
        bench,
        {
            "cmyk.tiff": (_flat("CMYK", (0, 255, 255, 0), "TIFF"), RED),
            "black.tiff": (_flat("CMYK", (0, 0, 0, 128), "TIFF"), (127,) * 3),
            "cmyk.jpg": (_flat("CMYK", (0, 255, 255, 0), "JPEG", quality=100), RED),
            "ycck.jpg": (bytes(ycck), RED),
            "lab.tiff": (_flat("LAB", clay_in_lab, "TIFF"), clay),
            "lab-grey.tiff": (_flat("LAB", (round(53.6 * 2.55), 128, 128), "TIFF"), (128,) * 3),
        },
    )


def _depths(bench: Bench) -> Letter:
    grey16 = np.full((40, 40), 100 * 257, dtype=np.uint16)
    half = np.full((40, 40), 0.5, dtype=np.float32)
    row_of_rgb16 = b"\0" + (b"\x64\x64" + b"\0\0" + b"\xff\xff") * 40
    clear = b"\0\x64\0\x64\0\x64"
    rows = {1: b"\0" + b"\xff" * 5, 2: b"\0" + b"\xaa" * 10, 4: b"\0" + b"\x88" * 20}
    bits = {
        f"{depth}-bit.png": (
            forged.png(40, 40, row * 40, depth=depth, colour_type=0),
            ((255, 170, 136)[n],) * 3,
        )
        for n, (depth, row) in enumerate(rows.items())
    }
    return _in_colour(
        bench,
        {
            **bits,
            "16-bit.png": (encoded(Image.fromarray(grey16)), (100,) * 3),
            "16-bit.tiff": (encoded(Image.fromarray(grey16), "TIFF"), (100,) * 3),
            "16-bit-rgb.png": (
                forged.png(40, 40, row_of_rgb16 * 40, depth=16),
                (100, 0, 255),
            ),
            "float.tiff": (encoded(Image.fromarray(half), "TIFF"), (128,) * 3),
            "palette.png": (encoded(Image.new("RGB", (40, 40), RED).quantize(4)), RED),
            "grey-alpha.png": (_flat("LA", (0, 128)), (127,) * 3),
            "clear-16.png": (
                forged.png(
                    40,
                    40,
                    (b"\0" + b"\0\x64" * 40) * 40,
                    forged.png_chunk(b"tRNS", clear[:2]),
                    depth=16,
                    colour_type=0,
                ),
                (255,) * 3,
            ),
            "clear.png": (_flat("RGB", (100, 100, 100), transparency=(100, 100, 100)), (255,) * 3),
        },
    )


def _transparent(bench: Bench) -> Letter:
    """What is transparent is white to the network, and transparent again in what is written."""
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 255))
    clear.paste((255, 0, 0, 0), (0, 0, 20, 40))
    data = encoded(clear)
    letter = _in_colour(bench, {"clear.png": (data, (127.5,) * 3)})
    with Image.open(bench.output / "images/bad0.png") as image:
        alpha = np.asarray(image.getchannel("A"))
    assert alpha[24, 6] == 0
    assert alpha[24, 42] == 255
    return letter


def _frames(bench: Bench) -> Letter:
    def film(image_format: str, **options: Any) -> tuple[bytes, Sequence[float]]:
        first, second = (Image.new("RGB", (40, 40), colour) for colour in (RED, GREEN))
        data = encoded(first, image_format, save_all=True, append_images=[second], **options)
        return data, RED

    return _in_colour(
        bench,
        {
            "film.gif": film("GIF"),
            "film.png": film("PNG"),
            "film.webp": film("WEBP", quality=100),
            "film.mpo": film("MPO", quality=100),
            "pages.tiff": film("TIFF"),
            "film.avif": film("AVIF", quality=100),
        },
    )


# The primaries of Display P3 as ICC profiles have them, adapted to the white of D50.
_P3 = {
    b"rXYZ": (0.51512, 0.24120, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.15710, 0.06657, 0.78407),
}


def _p3_profile() -> bytes:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for tag, values in _P3.items():
        entry = profile.index(tag)
        at = int.from_bytes(profile[entry + 4 : entry + 8]) + 8
        for n, value in enumerate(values):
            place = at + 4 * n
            profile[place : place + 4] = round(value * 65536).to_bytes(4, signed=True)
    return bytes(profile)


def _wide_gamut(bench: Bench) -> Letter:
    """Against the linear algebra of the two spaces: (180, 100, 80) in P3."""
    encoded_p3 = np.array([180, 100, 80]) / 255
    linear = ((encoded_p3 + 0.055) / 1.055) ** 2.4
    # From P3 to sRGB, both with the white of D65.
    matrix = [
        [1.2249402, -0.2249402, 0.0],
        [-0.0420570, 1.0420570, 0.0],
        [-0.0196376, -0.0786361, 1.0982735],
    ]
    expected = (1.055 * (matrix @ linear) ** (1 / 2.4) - 0.055) * 255
    data = _flat("RGB", (180, 100, 80), icc_profile=_p3_profile())
    return _in_colour(bench, {"p3.png": (data, expected.tolist())})


def _high_dynamic_range(bench: Bench) -> Letter:
    """Rec. 2020 and PQ, coded without a profile: taken as they stand, with a warning."""
    code = forged.png_chunk(b"cICP", bytes([9, 16, 0, 1]))
    data = forged.png(40, 40, (b"\0" + bytes([100, 50, 25]) * 40) * 40, code)
    return _in_colour(bench, {"hdr.png": (data, (100, 50, 25))})


def _truncated(bench: Bench) -> Letter:
    files = {}
    for image_format in formats.READ:
        data = _sound(image_format)
        for share in (0.25, 0.6, 0.95):
            files[f"{share}.{image_format.lower()}"] = data[: int(len(data) * share)]
    return _refused(bench, files, "image_truncated", said="cut short")


def _truncated_style(bench: Bench) -> Letter:
    data = _sound("JPEG")
    return _refused(bench, {"cut.jpg": data[: len(data) // 2]}, "image_truncated", column="style")


def _png_suite(bench: Bench) -> Letter:
    """The corrupt pictures of PngSuite, by their names there."""
    sound = _sound("PNG")
    signature = sound[:8]
    rows = (b"\0" + bytes(40)) * 40

    def damaged(chunk: bytes) -> bytes:
        at = sound.index(chunk) + 4
        end = at + int.from_bytes(sound[at - 8 : at - 4])
        return sound[:end] + bytes([sound[end] ^ 1]) + sound[end + 1 :]

    signatures = {
        "xs1": b"\x09" + signature[1:],
        "xs2": b"\x89Q" + signature[2:],
        "xs4": b"\x89PNg" + signature[4:],
        "xs7": signature[:6] + b" \n",
        "xcr": signature.replace(b"\r\n", b"\r\r\n"),
        "xlf": signature.replace(b"\r\n", b"\n"),
    }
    begun = _run(
        bench,
        {
            **{name: start + sound[8:] for name, start in signatures.items()},
            "xhd": damaged(b"IHDR"),
            "xcs": damaged(b"IDAT"),
            "xc1": forged.png(40, 40, rows, colour_type=1),
            "xc9": forged.png(40, 40, rows, colour_type=9),
            "xd0": forged.png(40, 40, rows, depth=0),
            "xd3": forged.png(40, 40, rows, depth=3),
            "xd9": forged.png(40, 40, rows, depth=99),
            "xdt": sound[: sound.index(b"IDAT") - 4] + sound[-12:],
        },
    )
    assert len([r for r in begun.records if r.outcome.status == "failed"]) == 14
    reasons = {r.outcome.reason for r in begun.records}
    assert reasons == {None, "not_an_image", "image_unreadable"}
    return begun.letter


def _bombs(bench: Bench) -> Letter:
    avif = bytearray(_sound("AVIF"))
    at = avif.index(b"ispe") + 8
    avif[at : at + 8] = (17_000).to_bytes(4) * 2
    webp = bytearray(encoded(Image.new("RGBA", (8, 8), (1, 2, 3, 4)), "WEBP", exif=b"Exif\0\0"))
    webp[24:30] = (16_382).to_bytes(3, "little") * 2
    gif = bytearray(_sound("GIF"))
    gif[6:10] = b"\xff" * 4
    bmp = bytearray(_sound("BMP"))
    bmp[18:26] = (40_000).to_bytes(4, "little") * 2
    jpeg = bytearray(_sound("JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = (65_500).to_bytes(2) * 2
    files = {
        "9.png": forged.png(9_500, 9_500),
        "10.png": forged.png(10_000, 10_000),
        "20.png": forged.png(20_000, 20_000),
        "header.png": forged.png(2**31 - 1, 2**31 - 1),
        "17.avif": bytes(avif),
        "16.webp": bytes(webp),
        "65.gif": bytes(gif),
        "40.bmp": bytes(bmp),
        "65.jpg": bytes(jpeg),
        "tile.tiff": forged.tiled_tiff(16, 16, 10_000),
    }
    assert max(map(len, files.values())) < 1 << 20
    return _refused(bench, files, "image_too_large", said="make it smaller first")


def _packed_beside(bench: Bench) -> Letter:
    """A text and a profile of 100 MB, of which the pixels need nothing, are left packed."""
    text = forged.png_chunk(b"zTXt", b"a\0\0" + _packed(100 << 20))
    profile = forged.png_chunk(b"iCCP", b"a\0\0" + _packed(100 << 20))
    rows = (b"\0" + bytes([100, 50, 25]) * 40) * 40
    files = {
        "text.png": (forged.png(40, 40, rows, text), (100, 50, 25)),
        "profile.png": (forged.png(40, 40, rows, profile), (100, 50, 25)),
    }
    assert max(len(data) for data, _ in files.values()) < 1 << 20
    return _in_colour(bench, files)


def _packed(length: int) -> bytes:
    packer = zlib.compressobj(1)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(length >> 20)]
    return b"".join(parts) + packer.flush()


def _icon(bench: Bench) -> Letter:
    data = _sound("ICO")
    return _refused(bench, {"icon.png": data}, "image_unsupported", said="found an icon")


def _too_many_bytes(bench: Bench) -> Letter:
    bench.monkeypatch.setattr(images, "MAX_BYTES", 1 << 20)
    data = encoded(Image.fromarray(picture(48, 64))) + bytes(1 << 20)
    return _refused(bench, {"long.png": data}, "image_too_large")


def _not_pictures(bench: Bench) -> Letter:
    """A Ghostscript that says so when it is started lies first in the path."""
    started = bench.folder / "started"
    program = bench.folder / "bin/gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {started}\n")
    program.chmod(0o755)
    bench.monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n"
    files = {
        "html.png": b"<!DOCTYPE html><html><body>hello</body></html>",
        "svg.png": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        "pdf.png": b"%PDF-1.7\n1 0 obj\n",
        "ps.png": b"%!PS\nshowpage\n",
        "eps.png": postscript,
        "dos-eps.png": b"\xc5\xd0\xd3\xc6" + bytes(26) + postscript,
        "elf.png": b"\x7fELF\2\1\1" + bytes(57),
        "text.png": b"BM is how a bitmap begins, and this is text",
    }
    letter = _refused(bench, files, "not_an_image")
    assert not started.exists()
    return letter


def _polyglots(bench: Bench) -> Letter:
    tail = b"<?php system($_GET['c']); ?>PK\x03\x04<script>alert(1)</script>ID3"
    files = {f"a.{f.lower()}": _sound(f) + tail for f in ("JPEG", "PNG", "GIF")}
    seen = _run(bench, files)
    pictures = [*(bench.output / "images").iterdir(), *(bench.output / "inputs").iterdir()]
    for path in pictures:
        assert b"system(" not in path.read_bytes(), path
        assert b"script" not in path.read_bytes(), path
    return seen.letter


def _other_formats(bench: Bench) -> Letter:
    dng = {256: 40, 257: 40, 258: 8, 259: 1, 262: 1, 277: 1, 50706: 0x0401}
    files = {
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40),
        "JPEG XL": b"\xff\x0a" + bytes(40),
        "Canon CR2": b"II*\0\x10\0\0\0CR\2\0" + bytes(40),
        "Canon CR3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(40),
        "Fujifilm": b"FUJIFILMCCD-RAW 0201" + bytes(40),
        "DNG": forged.tiff(dng, bytes(40 * 40)),
        "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
    }
    seen = _run(bench, files)
    for n, name in enumerate(files):
        assert seen.reason(f"bad{n}") == "image_unsupported"
        (record,) = (r for r in seen.records if r.outcome.id == f"bad{n}")
        assert name in str(record.outcome.error)
    return seen.letter


def _replaced(bench: Bench) -> Letter:
    """The file is another one from the second time on that it is read."""
    read = storage.read_input
    num_reads: list[str] = []

    def changing(uri: str, **options: Any) -> Found:
        found = read(uri, **options)
        if not uri.endswith("b.png"):
            return found
        num_reads.append(uri)
        return replace(found, data=_sound("PNG")) if len(num_reads) > 1 else found

    bench.monkeypatch.setattr(storage, "read_input", changing)
    seen = bench.run([bad(content="b.png")])
    assert seen.reason() == "input_changed"
    return seen.letter


def _recorded(bench: Bench) -> Letter:
    seen = bench.run([bad(content="b.png")])
    (record,) = (r for r in seen.records if r.outcome.id == "bad")
    data = (bench.inputs / "b.png").read_bytes()
    assert record.outcome.content_digest == hashlib.sha256(data).hexdigest()
    return seen.letter


def _not_numbers(bench: Bench) -> Letter:
    values = np.full((40, 40), 0.5, dtype=np.float32)
    files = {}
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        values[3, 3] = value
        files[f"{name}.tiff"] = encoded(Image.fromarray(values), "TIFF")
    return _refused(bench, files, "image_unreadable", said="found NaN or infinity")


def _featureless(bench: Bench, column: str) -> Letter:
    files = {f"{c}.png": _flat("RGB", (c, c, c)) for c in (0, 128, 255)}
    seen = _run(bench, files, column=column)
    for record in seen.records:
        outcome = record.outcome
        losses = (outcome.content_loss, outcome.style_loss, outcome.total_loss)
        assert all(loss is not None and np.isfinite(loss) for loss in losses)
        data = (bench.output / str(outcome.picture)).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    return seen.letter


CASES: tuple[Case, ...] = (
    Case(41, "R", "zero bytes", _zero_bytes),
    Case(42, "OK", "a few pixels", _few_pixels),
    Case(42, "R", "long and thin", _long_and_thin),
    Case(42, "R", "a style of a few pixels", _style_of_few_pixels),
    Case(42, "R", "a mask of another shape", _mask_of_another_shape),
    Case(43, "OK", "lying on its side", _orientations),
    Case(44, "OK", "broken Exif", _broken_exif),
    *(
        Case(
            45,
            "OK",
            f"metadata for nobody else, {image_format}",
            partial(_private_metadata, image_format=image_format),
        )
        for image_format in ("png", "jpeg", "webp")
    ),
    Case(46, "OK", "inks and CIELAB", _ink),
    Case(47, "OK", "depths", _depths),
    Case(48, "OK", "transparent", _transparent),
    Case(49, "OK", "several frames", _frames),
    Case(50, "OK", "wide gamut", _wide_gamut),
    Case(50, "OK", "high dynamic range", _high_dynamic_range),
    Case(51, "R", "cut short", _truncated),
    Case(51, "R", "a style cut short", _truncated_style),
    Case(52, "R", "corrupt PNG", _png_suite),
    Case(53, "R", "bombs", _bombs),
    Case(53, "OK", "bombs beside the pixels", _packed_beside),
    Case(53, "R", "an icon", _icon),
    Case(53, "R", "too many bytes", _too_many_bytes),
    Case(54, "R", "no pictures", _not_pictures),
    Case(55, "OK", "two files in one", _polyglots),
    Case(56, "R", "formats that are not read", _other_formats),
    Case(57, "R", "replaced after it was looked at", _replaced),
    Case(57, "OK", "the digest of what was used", _recorded),
    Case(58, "R", "pixels that are no numbers", _not_numbers),
    Case(58, "OK", "a featureless content", partial(_featureless, column="content")),
    Case(58, "OK", "a featureless style", partial(_featureless, column="style")),
)
