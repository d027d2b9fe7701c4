"""What a file tells of its origin: read, held against its content, and never believed further than that."""

from __future__ import annotations

import datetime
import json
from io import BytesIO

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from app.page.handlers import EXAMPLE
from app.wording.provenance import SAYS_NOTHING, provenance_rows
from media.provenance.ask import read_provenance
from media.provenance.pixels import hash_distance

c2pa = pytest.importorskip("c2pa", reason="pip install '.[app]' brings c2pa-python")


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.open(EXAMPLE).convert("RGB")


def jpeg(picture: Image.Image, quality: int = 90, **options) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=quality, **options)
    return buffer.getvalue()


def words_of(data: bytes) -> dict[str, str]:
    return dict(provenance_rows(read_provenance(data)))


def certificate(names: dict, issuer=None, issuer_key=None):
    """A certificate and its key; without an issuer an authority that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(oid, text) for oid, text in names.items()])
    now = datetime.datetime.now(datetime.UTC)
    is_authority = issuer is None
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
         "decipher_only"), False,
    )  # fmt: skip
    usage |= {"digital_signature": True, "key_cert_sign": is_authority, "crl_sign": is_authority}
    signer = issuer_key or key
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(authority, critical=False)
    )
    if not is_authority:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purpose, critical=True)
    return builder.sign(signer, SHA256()), key


@pytest.fixture(scope="module")
def signed(picture) -> bytes:
    """A photograph with Content Credentials by a certificate that was made here."""
    organisation = {NameOID.ORGANIZATION_NAME: "A test"}
    root, root_key = certificate({**organisation, NameOID.COMMON_NAME: "Test authority"})
    leaf, key = certificate({**organisation, NameOID.COMMON_NAME: "Test newsroom"}, root, root_key)
    chain = "".join(c.public_bytes(Encoding.PEM).decode() for c in (leaf, root))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", chain.encode(), private.encode(), None))
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
    actions = {"actions": [{"action": "c2pa.created", "digitalSourceType": source}]}
    manifest = {
        "claim_generator_info": [{"name": "Unmask's tests", "version": "1"}],
        "format": "image/jpeg",
        "title": "example.jpg",
        "assertions": [{"label": "c2pa.actions", "data": actions}],
    }
    result = BytesIO()
    with c2pa.Builder.from_json(json.dumps(manifest)) as builder:
        builder.sign(signer, "image/jpeg", BytesIO(jpeg(picture)), result)
    return result.getvalue()


def test_a_signed_file_is_read_and_holds(signed):
    found = read_provenance(signed)["credentials"]
    assert found["state"] == "valid" and found["signer"] == "Test newsroom"
    assert found["generator"] == "Unmask's tests" and found["sources"] == ["digitalCapture"]
    assert "signingCredential.untrusted" in found["problems"], "a certificate of one's own is no authority"
    words = words_of(signed)["Content Credentials (C2PA)"]
    assert "intact" in words and "on no list of trusted ones" in words and "taken by a camera" in words


def test_a_file_altered_after_signing_is_named(signed):
    place = len(signed) - 500  # among the coded pixels
    altered = signed[:place] + bytes([signed[place] ^ 1]) + signed[place + 1 :]
    found = read_provenance(altered)["credentials"]
    assert found["state"] == "altered" and "assertion.dataHash.mismatch" in found["problems"]
    assert "ALTERED" in words_of(altered)["Content Credentials (C2PA)"]


def test_damaged_credentials_are_no_alarm_and_no_proof(signed):
    start = signed.index(b"jumb") + 200
    damaged = signed[:start] + bytes(400) + signed[start + 400 :]
    assert read_provenance(damaged)["credentials"]["state"] in ("unreadable", "invalid", "altered", "none")


def test_a_file_without_anything_says_nothing(picture):
    words = words_of(jpeg(picture))
    for name in ("Content Credentials (C2PA)", "Camera data (EXIF)", "Programs named"):
        assert SAYS_NOTHING in words[name]


def test_camera_and_editor_are_told(picture):
    exif = Image.Exif()
    exif[271], exif[272], exif[305] = "Canon", "EOS\x1b[2J R5", "Adobe Photoshop 26.1 (Windows)"
    exif.get_ifd(0x8769)[36867] = "2026:05:01 10:00:00"
    words = words_of(jpeg(picture, exif=exif))
    assert words["Camera data (EXIF)"] == "Canon EOS [2J R5, taken 2026:05:01 10:00:00"
    assert (
        "Photoshop" in words["Programs named"] and "does not say that a face was" in words["Programs named"]
    )


def test_settings_of_a_generator_are_told(picture):
    buffer, info = BytesIO(), PngInfo()
    info.add_text("parameters", "portrait of a man\nSteps: 20, Sampler: Euler a, CFG scale: 7")
    picture.save(buffer, "PNG", pnginfo=info)
    assert "Steps: 20" in words_of(buffer.getvalue())["Settings of an image generator"]


def test_an_origin_named_in_xmp_is_told(picture):
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description Iptc4xmpExt:DigitalSourceType='
        b'"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia" '
        b'xmp:CreatorTool="Some <b>tool</b>"/></x:xmpmeta>'
    )
    words = words_of(jpeg(picture, xmp=xmp))
    assert words["Origin it names (XMP)"] == "made by generative AI"


def with_thumbnail(picture: Image.Image, thumbnail: Image.Image) -> bytes:
    """A JPEG whose EXIF has a second directory with a thumbnail, as TIFF 6 and EXIF 2.3 lay it out."""
    small = jpeg(thumbnail, 80)
    tiff = b"II*\0" + (8).to_bytes(4, "little")
    tiff += (0).to_bytes(2, "little") + (14).to_bytes(4, "little")  # an empty first directory
    entries = ((513, 4, 1, 14 + 2 + 2 * 12 + 4), (514, 4, 1, len(small)))
    tiff += len(entries).to_bytes(2, "little")
    for tag, kind, count, value in entries:
        tiff += tag.to_bytes(2, "little") + kind.to_bytes(2, "little")
        tiff += count.to_bytes(4, "little") + value.to_bytes(4, "little")
    return jpeg(picture, exif=b"Exif\0\0" + tiff + bytes(4) + small)


def test_a_thumbnail_of_another_picture_is_told(picture):
    size = (160, round(160 * picture.height / picture.width))
    same = read_provenance(with_thumbnail(picture, picture.resize(size)))["thumbnail"]
    assert same["state"] == "same" and same["correlation"] > 0.95
    other = picture.transpose(Image.Transpose.ROTATE_180).resize(size)
    assert read_provenance(with_thumbnail(picture, other))["thumbnail"]["state"] == "different"
    wide = read_provenance(with_thumbnail(picture, picture.resize((160, 60))))["thumbnail"]
    assert wide["state"] == "other_shape"


def test_the_tables_tell_libjpeg_from_others(picture):
    for quality in (50, 75, 90):
        found = read_provenance(jpeg(picture, quality))["jpeg"]
        assert found == {"quality": quality, "usual_tables": True}
    own = [[7 + i // 3 for i in range(64)], [9 + i // 2 for i in range(64)]]
    found = read_provenance(jpeg(picture, qtables=own))["jpeg"]
    assert not found["usual_tables"] and 1 <= found["quality"] <= 100


def test_bytes_behind_the_picture_are_counted(picture):
    data = jpeg(picture)
    assert read_provenance(data)["surplus"] == 0
    assert read_provenance(data + bytes(32))["surplus"] == 0, "padding"
    assert read_provenance(data + b"x" * 5000)["surplus"] == 5000
    assert read_provenance(with_thumbnail(picture, picture.resize((64, 64))))["surplus"] == 0


def test_copies_have_hashes_alike_and_others_have_not(picture):
    own = read_provenance(jpeg(picture))["perceptual_hash"]
    small = read_provenance(jpeg(picture.resize((200, 200)), 40))["perceptual_hash"]
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    assert hash_distance(own, small) <= 6
    assert hash_distance(own, read_provenance(jpeg(noise))["perceptual_hash"]) > 16


def test_hostile_metadata_cost_nothing_but_themselves(picture):
    for exif in (b"Exif\0\0" + b"\xff" * 3000, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(range(256)) * 9):
        assert read_provenance(jpeg(picture, exif=exif))["perceptual_hash"]
    assert read_provenance(jpeg(picture, icc_profile=b"\0" * 500))["metadata"]["profile"] == "damaged"
    assert read_provenance(b"no picture") is None


def test_page_and_report_show_it_and_the_score_does_not_depend_on_it(tmp_path, signed, picture):
    from app.assistant import Assistant
    from app.page.panels import photo_panel
    from kfd.config import Decision
    from tests.tiny.checkpoint import save_tiny_checkpoint

    assistant = Assistant.from_pretrained(save_tiny_checkpoint(tmp_path, Decision(min_sharpness=0.0)))
    with_record, without = assistant.analyse(signed), assistant.analyse(jpeg(picture))
    assert "Test newsroom" in photo_panel(with_record) and SAYS_NOTHING in photo_panel(without)
    reports = [assistant.report(analysis) for analysis in (with_record, without)]
    assert "Test newsroom" in reports[0].to_html()
    one, other = (report.files[0]["faces"] for report in reports)
    assert one == other and one[0]["score"] is not None
    assert "provenance" not in json.dumps(one)
    assert assistant.analyse(np.asarray(picture)).provenance is None
