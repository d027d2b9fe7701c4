"""What a file tells of its own origin, in a layman's words; also what says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from media.provenance.ask import Provenance

HEADING = "What the file tells of its origin"
NOTE = (
    "None of this is part of the finding, and no score depends on it. Everything here, but for a Content "
    "Credential whose signer you know, can be written, changed and removed by anybody; messengers and social "
    "networks remove most of it, so that its absence says nothing."
)
NOT_READ = "could not be read"
SAYS_NOTHING = "this says nothing"

CREDENTIALS = {
    "none": f"none; most cameras and programs write none, {SAYS_NOTHING}",
    "unsupported": f"files of this kind carry none, {SAYS_NOTHING}",
    "not_read": "were not looked for: the package c2pa-python is not installed",
    "unreadable": f"there are some, but they are damaged or of an unknown kind, {SAYS_NOTHING}",
    "altered": "ALTERED: the content is not what was signed; something was changed after signing",
    "invalid": "INVALID: the signature or a part of the record does not hold; rely on nothing that it tells",
    "valid": "intact: the file is as it was signed. The signer is on no list of trusted ones, which anybody "
    "could be who makes a certificate",
    "trusted": "intact, and signed by somebody on the list of trusted signers",
}
SOURCES = {
    "trainedAlgorithmicMedia": "made by generative AI",
    "compositeWithTrainedAlgorithmicMedia": "partly made by generative AI",
    "algorithmicMedia": "made by a program",
    "digitalCapture": "taken by a camera",
    "compositeCapture": "put together from several photographs",
    "composite": "put together from several pictures",
}
THUMBNAIL = {
    "same": f"shows the same picture, {SAYS_NOTHING}",
    "different": "shows ANOTHER picture: the file was changed by a program that left the old thumbnail",
    "other_shape": "has another shape than the picture, which was cropped or framed later, or the camera "
    "framed the thumbnail",
    "unreadable": f"is damaged, {SAYS_NOTHING}",
}


def provenance_rows(provenance: Provenance | None) -> tuple[tuple[str, str], ...]:
    """Rows of name and words; none for a video or for what is no file."""
    if provenance is None:
        return ()
    metadata, jpeg, thumbnail = (provenance.get(name) for name in ("metadata", "jpeg", "thumbnail"))
    rows = [("Content Credentials (C2PA)", _credentials(provenance["credentials"]))]
    if metadata is None:
        rows.append(("Metadata", NOT_READ))
    else:
        rows += _metadata(metadata)
    if jpeg:
        rows.append(("Compression", _compression(jpeg)))
    if thumbnail or "thumbnail" in provenance["unread"]:
        rows.append(("Thumbnail in the file", THUMBNAIL[thumbnail["state"]] if thumbnail else NOT_READ))
    if provenance["surplus"]:
        surplus = (
            f"{provenance['surplus']:,} bytes stand after the end of the picture; some phones put clips there"
        )
        rows.append(("Structure", f"{surplus}, and so does who hides something"))
    if provenance["perceptual_hash"]:
        words = "alike for copies that were resized or compressed; to search with, not to judge by"
        rows.append(("Perceptual hash", f"{provenance['perceptual_hash']} ({words})"))
    return tuple(rows)


def _credentials(found: dict[str, Any]) -> str:
    words = CREDENTIALS[found["state"]]
    if found["state"] not in ("altered", "invalid", "valid", "trusted"):
        return words
    told = [
        f"signed by “{found['signer']}”" if found["signer"] else "",
        f"on {found['time']}" if found["time"] else "",
        f"with “{found['generator']}”" if found["generator"] else "",
    ]
    told += [SOURCES[source] for source in dict.fromkeys(found["sources"]) if source in SOURCES]
    if found["actions"]:
        told.append("steps named: " + ", ".join(action.removeprefix("c2pa.") for action in found["actions"]))
    problems = f" ({', '.join(found['problems'])})" if found["problems"] else ""
    return f"{words}{problems}. The record says: {', '.join(filter(None, told)) or 'nothing more'}"


def _metadata(found: dict[str, Any]) -> list[tuple[str, str]]:
    camera = found["camera"]
    device = " ".join(camera[name] for name in ("make", "model", "lens") if name in camera)
    when = [f"taken {camera['taken']}"] if "taken" in camera else []
    when += [f"changed {camera['changed']}"] if "changed" in camera else []
    place = ["with the place"] if found["has_place"] else []
    told = ", ".join(filter(None, [device, *when, *place]))
    rows = [("Camera data (EXIF)", told or f"none, {SAYS_NOTHING}")]
    if found["generator"]:
        rows.append(("Settings of an image generator", f"the file holds some: “{found['generator']}”"))
    if found["source"]:
        words = SOURCES.get(found["source"], f"“{found['source']}”")
        rows.append(("Origin it names (XMP)", words))
    if found["software"]:
        edited = ""
        if found["editors"]:
            edited = "; these can edit, which does not say that a face was"
        rows.append(("Programs named", ", ".join(found["software"]) + edited))
    else:
        rows.append(("Programs named", f"none, {SAYS_NOTHING}"))
    if found["credit"]:
        rows.append(("Credit (IPTC)", found["credit"]))
    if found["profile"]:
        rows.append(("Colour profile", found["profile"]))
    return rows


def _compression(jpeg: dict[str, Any]) -> str:
    quality = f"JPEG quality {'' if jpeg['usual_tables'] else 'about '}{jpeg['quality']} of 100"
    if jpeg["usual_tables"]:
        return f"{quality}, with libjpeg's tables, which most programs and web sites use and few cameras"
    return f"{quality}, with tables of its own, as cameras and some editors have"
