"""How a report can be checked, and what that proves."""

from __future__ import annotations

from app.analysis import Analysis

TOLERANCE = 0.001  # of scores and region means: another processor or library can change later digits

CHECKING = (
    "Run python -m app.report --verify REPORT --signer KEY --photo FILE, with REPORT in any of its forms: it "
    "says whether the report is unchanged since it was signed, by which key, and whether FILE is the one "
    "that was examined. With --rerun it examines FILE again and compares every figure.",
    "Compute the SHA-256 digest of the file (sha256sum FILE) and compare it with the one above.",
    "Compute the digests of the weight files in the checkpoint folder and compare them with the list above.",
    "Run python -m app.report FILE -o again.json with the same program and models, whose digests it lists as "
    f"well: scores and regions must agree to {TOLERANCE}. Another processor or library can change later "
    "digits.",
    "Without a signature, note the seal where the report's recipient keeps it and give it as --expect SEAL. "
    "It is the SHA-256 digest of the report's JSON form, a checksum: whoever changes a report can compute it "
    "anew.",
)

VIDEO_DIGEST = (
    "The digest of the examined frames is the SHA-256 over the hexadecimal digests of each, in order, and "
    "that of a frame is over its shape as Python prints it and its red, green and blue bytes."
)

# The one paragraph on what a signature proves; the report, --verify and docs say it.
PROVED = (
    "A signature that fits proves that nobody without the named key's private half wrote or changed this "
    "report since it was signed. It does not prove whose key that is: compare it with the public key that "
    "the examiner gave out on another way. It proves neither that the finding is right nor when the report "
    "was signed, for the date in it is what the signer's computer said; nor that the owner of the key did "
    "not sign another report on the same file. An equal digest shows that a file is the one that was "
    "examined, not where it comes from, and figures that come out again show that program and models give "
    "them for this file, not that they are true of it."
)


def checking(analysis: Analysis) -> list[str]:
    """The ways in which a reader can check the report, and what they prove."""
    return [*CHECKING, *([] if analysis.video is None else [VIDEO_DIGEST]), PROVED]


def signer_words(public: str | None, is_signed: bool) -> str:
    """By which key a report is signed, as a row of it. public: the key that it names."""
    if not public:
        return "nobody: this report was made without a key (python -m app.keys new)"
    return public if is_signed else f"nobody: it names the key {public}, but bears no signature"
