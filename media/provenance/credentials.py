"""Content Credentials (C2PA 2): the signed statements of origin in a file, read and validated."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from media.provenance.text import clean

MIME = {
    "JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif",
    "TIFF": "image/tiff", "AVIF": "image/avif", "HEIF": "image/heif",
}  # fmt: skip
# Nothing is fetched: neither manifests that a file only points to, nor lists of revoked certificates.
SETTINGS = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
CONTENT_CHANGED = "hash.mismatch"  # the end of the codes that say so, such as assertion.dataHash.mismatch
MAX_LISTED = 12


def read_credentials(data: bytes, file_format: str) -> dict[str, Any]:
    """Read and validate the manifest of an image file.

    data: the file. file_format: as Pillow calls it. Returns `state`: "none", "unsupported" for a format that
    cannot carry one, "not_read" without the package c2pa-python, "unreadable", "invalid", "altered" where the
    content is not what was signed, "valid" (intact, by a signer on no list of trusted ones), or "trusted".
    Where there is a manifest also signer, time, generator, actions and sources, and the problems' codes.
    """
    if file_format not in MIME:
        return {"state": "unsupported"}
    try:
        from c2pa import C2paError, Context, Reader, Settings
    except ImportError:
        return {"state": "not_read"}
    try:
        with Context(Settings.from_dict(SETTINGS)) as context:
            reader = Reader.try_create(MIME[file_format], BytesIO(data), context=context)
            if reader is None:
                return {"state": "none"}
            with reader:
                return _told(json.loads(reader.json()))
    except (C2paError, ValueError, KeyError, TypeError, AttributeError) as error:
        return {"state": "unreadable", "problems": [clean(str(error))]}


def _told(store: dict[str, Any]) -> dict[str, Any]:
    manifest = store["manifests"][store["active_manifest"]]
    signature = manifest.get("signature_info") or {}
    codes = sorted({clean(status.get("code", "")) for status in store.get("validation_status") or []})
    state = str(store.get("validation_state", "Invalid")).lower()
    if state not in ("valid", "trusted"):
        state = "altered" if any(c.lower().endswith(CONTENT_CHANGED) for c in codes) else "invalid"
    actions = [
        action
        for assertion in manifest.get("assertions") or []
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions") or []
    ]
    generators = manifest.get("claim_generator_info") or [{"name": manifest.get("claim_generator")}]
    return {
        "state": state,
        "signer": clean(signature.get("common_name") or signature.get("issuer") or ""),
        "time": clean(signature.get("time") or ""),
        "generator": clean(generators[0].get("name") or ""),
        "actions": [clean(action.get("action", "")) for action in actions][:MAX_LISTED],
        "sources": [
            clean(str(a["digitalSourceType"]).rsplit("/", 1)[-1])
            for a in actions
            if a.get("digitalSourceType")
        ][:MAX_LISTED],
        "problems": codes[:MAX_LISTED],
    }
