"""What a simulated forgery will be, drawn before a pixel is touched.

A recipe holds every random number of a batch of forgeries, so that both renderers of it, OpenCV for one
picture after the other and tensors for whole batches, make the same forgeries.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from data_sim.degrade import chance, uniform
from data_sim.simulation import warp
from media import regions

# What Alteration.kind counts, each with the least and the most of it: weight of the added detail, sigma in
# pixels, factor, JPEG quality.
ALTERATIONS = {
    "sharpen": (0.4, 1.6),
    "blur": (0.4, 1.8),
    "shrink": (0.3, 0.8),
    "compress": (30.0, 80.0),
    "colour_only": (0.0, 0.0),
}
# The outlines face swaps are known for: jaw to forehead, jaw to brows, brows to mouth. Of each the landmarks
# and the margin, as in media.regions.Region.
WHOLE_FACE_OUTLINES = (
    ((*range(17), *regions.FOREHEAD_POINTS), 0.0),
    (tuple(range(68)), 0.0),
    (tuple(range(17, 68)), 0.1),
)
SHARPENED = 1.2  # sigma in pixels of the detail that sharpening adds


@dataclass(frozen=True)
class SimulationConfig:
    """How forgeries are drawn; probabilities in [0, 1], lengths as fractions of the side."""

    whole_face: float = 0.55  # share of forgeries that replace the whole face instead of parts
    swap: float = 0.3  # share whose foreground is another person of the batch
    poisson: float = 0.3  # share blended in the gradient domain first
    alter_background: float = 0.5  # share whose background, not foreground, is altered
    shift: float = 0.025  # largest translation of the foreground
    scale: float = 0.05  # largest |log scale| of the foreground
    angle: float = 0.04  # largest rotation of the foreground, radians
    elastic: float = 0.012  # amplitude of the elastic change
    max_parts: int = 3  # regions replaced together, at most
    untouched: float = 0.0  # share of swaps whose statistics are left as they are
    reenact: float = 0.0  # share whose expression is changed: mouth, chin, lids and brows move
    upsample: float = 0.0  # share whose foreground comes out of a generator's last upsampling
    unaltered: float = 0.0  # share of all forgeries whose statistics are left as they are
    opaque: bool = False  # every forgery covers fully, where a third of SBI's shine through
    seamless: bool = False  # Poisson blending by OpenCV's seamlessClone; slower, and on the CPU


@dataclass(frozen=True)
class Alteration:
    """Changes of the statistics of B pictures, see `data_sim.simulation.render_batch.alter`.

    gain, offset: (B, 3) of each colour channel. saturation: (B,) factor.
    kind: (B,) int64, which of ALTERATIONS comes after the colours. amount: (B,) of it.
    """

    gain: Tensor
    offset: Tensor
    saturation: Tensor
    kind: Tensor
    amount: Tensor

    @classmethod
    def draw(cls, count: int, generator: torch.Generator) -> Alteration:
        """Draw independent alterations."""
        device = generator.device
        tint = 1 + 0.12 * (torch.rand(count, 3, generator=generator, device=device) * 2 - 1)
        gain = uniform(generator, count, 0.85, 1.15)[:, None] * tint
        offset = 0.04 * (torch.rand(count, 3, generator=generator, device=device) * 2 - 1)
        saturation = uniform(generator, count, 0.75, 1.25)
        kind = torch.randint(len(ALTERATIONS), (count,), generator=generator, device=device)
        low, high = torch.tensor(list(ALTERATIONS.values()), device=device)[kind].T
        amount = low + (high - low) * torch.rand(count, generator=generator, device=device)
        return cls(gain, offset, saturation, kind, amount)

    def __getitem__(self, index: Tensor) -> Alteration:
        return Alteration(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass(frozen=True)
class Softening:
    """How B hard masks become soft ones, see `data_sim.simulation.render_batch.soften`.

    erode, feather: (B,) sigmas of both blurs, as fractions of the side.
    level: (B,) value above which a blurred mask stays; above a half erodes.
    """

    erode: Tensor
    level: Tensor
    feather: Tensor

    @classmethod
    def draw(cls, count: int, generator: torch.Generator) -> Softening:
        """Draw independent softenings."""
        ranges = ((0.004, 0.03), (0.4, 0.75), (0.003, 0.035))
        return cls(*(uniform(generator, count, low, high) for low, high in ranges))

    def sparing(self, side: Tensor) -> Softening:
        """The same, but that a part no wider than `side` (B,), a fraction of the picture's, is not lost.

        A thin part beside a large one would be eroded to nothing, and still be named.
        """
        # Blurred by sigma, the middle of a stripe is erf(side / (8 ** 0.5 * sigma)); it must pass the level.
        widest = side / (8**0.5 * torch.erfinv((self.level + 0.0625).sqrt()))
        return replace(self, erode=torch.minimum(self.erode, widest))


@dataclass(frozen=True)
class Upsampling:
    """Whose foreground comes out of a generator.

    rows: (n,) int64. kernels: (n, 4, 4), that make the grids.
    """

    rows: Tensor
    kernels: Tensor

    @classmethod
    def draw(cls, rows: Tensor, generator: torch.Generator) -> Upsampling:
        """Draw kernels whose weights do not quite add up alike at every pixel."""
        line = torch.tensor([0.25, 0.75, 0.75, 0.25], device=generator.device)
        uneven = uniform(generator, len(rows), 0.0, 0.12)[:, None, None]
        noise = torch.randn(len(rows), 4, 4, generator=generator, device=generator.device)
        kernels = (line[:, None] * line) * (1 + uneven * noise)
        return cls(rows, kernels * (4 / kernels.sum((1, 2), keepdim=True)))

    def kernel_of(self, row: int) -> Tensor | None:
        """The kernel (4, 4) of one forgery, None where it has none."""
        found = (self.rows == row).nonzero().flatten()
        return self.kernels[found[0]] if len(found) else None


@dataclass(frozen=True)
class Recipe:
    """All that is random about B forgeries of S x S faces, on the generator's device.

    regions: (B, R) bool, which of media.regions.REGIONS are replaced.
    hulls: (B, 1, S, S) uint8 hard masks of them, 255 inside.
    swapped: (B,) bool, whether the foreground is another person. donor: (B,) int64, who, in that case.
    matrix: (B, 2, 3), output pixels to pixels of the foreground's picture.
    elastic: (B, 2, K, K) coarse displacements in pixels, see warp.elastic_flow.
    expression: (B, E, 2) moves in units of the distance between the eyes, see warp.expression_flow, or None.
    upsampling: None where nothing comes out of a generator.
    alteration: of foreground or background. alter_background: (B,) bool, which of the two.
    untouched: (B,) bool, whether there is no alteration at all.
    softening: of the masks. ratio: (B,) largest opacity.
    colour_share: (B,) how far the foreground's mean colour is moved to the background's.
    poisson: (B,) bool, whether blended in the gradient domain first. seamless: by OpenCV's seamlessClone.
    """

    regions: Tensor
    hulls: Tensor
    swapped: Tensor
    donor: Tensor
    matrix: Tensor
    elastic: Tensor
    expression: Tensor | None
    upsampling: Upsampling | None
    alteration: Alteration
    alter_background: Tensor
    untouched: Tensor
    softening: Softening
    colour_share: Tensor
    poisson: Tensor
    ratio: Tensor
    seamless: bool = False


def draw_recipe(
    landmarks: Tensor,
    size: int,
    generator: torch.Generator,
    config: SimulationConfig | None = None,
    donors: Tensor | None = None,
) -> Recipe:
    """Draw forgeries of B faces.

    landmarks: (B, 68, 2) pixels of size x size crops. generator: on the landmarks' device.
    donors: (B, 68, 2) landmarks of the other person that each face would be swapped with; by default the one
        of the batch whose pose is nearest.
    """
    config = config or SimulationConfig()
    batch, device = len(landmarks), generator.device
    chosen, hulls, thinnest = draw_masks(landmarks, size, generator, config)
    slight = warp.random_affine(batch, size, generator, config.shift, config.scale, config.angle)
    swapped = chance(generator, batch, config.swap if donors is not None or batch > 1 else 0.0)
    donor = torch.arange(batch, device=device)
    if donors is None:
        poses = pose(landmarks)
        donor = (torch.cdist(poses, poses) + 1e9 * torch.eye(batch, device=device)).argmin(1)
        donors = landmarks[donor]
    matrix = torch.where(swapped[:, None, None], warp.fit_affine(landmarks, donors), slight)
    elastic = warp.draw_elastic(batch, generator) * (config.elastic * size)
    expression = upsampling = None
    if config.reenact:
        moved = chance(generator, batch, config.reenact) & ~swapped
        expression = warp.draw_expression(batch, generator) * moved[:, None, None]
    if config.upsample:
        rows = chance(generator, batch, config.upsample).nonzero().flatten()
        upsampling = Upsampling.draw(rows, generator) if len(rows) else None
    both = Alteration.draw(2 * batch, generator)  # of the foregrounds, then of the backgrounds
    untouched = torch.zeros(batch, dtype=torch.bool, device=device)
    if config.untouched:
        untouched = chance(generator, batch, config.untouched) & swapped
    if config.unaltered:
        untouched = untouched | chance(generator, batch, config.unaltered)
    alter_background = chance(generator, batch, config.alter_background)
    softening = Softening.draw(batch, generator).sparing(thinnest / size)
    share = uniform(generator, batch, 0.5, 1.0)
    poisson = chance(generator, batch, config.poisson)
    ratio = torch.tensor([0.5, 0.75, 1.0, 1.0, 1.0], device=device)
    pick = torch.randint(len(ratio), (batch,), generator=generator, device=device)
    return Recipe(
        regions=chosen,
        hulls=hulls,
        swapped=swapped,
        donor=donor,
        matrix=matrix,
        elastic=elastic,
        expression=expression,
        upsampling=upsampling,
        alteration=both[torch.arange(batch, device=device) + batch * alter_background],
        alter_background=alter_background,
        untouched=untouched,
        softening=softening,
        colour_share=share,
        poisson=poisson,
        ratio=torch.ones_like(ratio[pick]) if config.opaque else ratio[pick],
        seamless=config.seamless,
    )


def draw_masks(
    landmarks: Tensor, size: int, generator: torch.Generator, config: SimulationConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw what is replaced: one to three parts, or the whole face in one of three outlines.

    The masks are drawn by OpenCV for every renderer: polygons are nothing for a GPU.
    Returns (B, R) bool in REGIONS order, hard masks (B, 1, size, size) uint8, 255 inside, and the width (B,)
    of the thinnest part in pixels.
    """
    batch, device = len(landmarks), generator.device
    whole = chance(generator, batch, config.whole_face)
    rank = torch.rand(batch, len(regions.PART_NAMES), generator=generator, device=device).argsort(1)
    count = torch.randint(1, config.max_parts + 1, (batch,), generator=generator, device=device)
    kind = torch.randint(3, (int(whole.sum()),), generator=generator, device=device)
    chosen = torch.zeros(batch, len(regions.REGIONS), dtype=torch.bool, device=device)
    parts = [regions.REGION_NAMES.index(name) for name in regions.PART_NAMES]
    chosen[:, parts] = (rank < count[:, None]) & ~whole[:, None]
    chosen[:, regions.REGION_NAMES.index(regions.WHOLE_FACE)] = whole

    points = regions.with_forehead(landmarks).double().cpu().numpy()
    eyes = regions.eye_distance(landmarks).double().cpu().numpy()
    outlines: list[list[np.ndarray]] = [[] for _ in range(batch)]  # the polygons of each face
    kinds = torch.full((batch,), -1, device=device).masked_scatter(whole, kind)
    jobs = [(chosen[:, part], regions.REGIONS[part].points, regions.REGIONS[part].margin) for part in parts]
    jobs += [(kinds == number, *outline) for number, outline in enumerate(WHOLE_FACE_OUTLINES)]
    for which, corners, margin in jobs:
        rows = which.nonzero().flatten().tolist()
        polygons = regions.hull_polygons(points[rows][:, corners], margin * eyes[rows]) if rows else []
        for row, polygon in zip(rows, polygons, strict=True):
            outlines[row].append(polygon)
    masks = torch.stack([torch.from_numpy(regions.fill_polygons(polygons, size)) for polygons in outlines])
    thinnest = torch.tensor([min(map(_width, polygons)) for polygons in outlines])
    return chosen, masks[:, None].to(device), thinnest.to(device)


def _width(polygon: np.ndarray) -> float:
    """The shorter side of the smallest box around a polygon (K, 2)."""
    return min(cv2.minAreaRect(polygon.astype(np.float32))[1])


def pose(landmarks: Tensor) -> Tensor:
    """Shape of a face without its place and size: (B, 68, 2) pixels -> (B, 136)."""
    centred = landmarks - landmarks.mean(1, keepdim=True)
    return (centred / landmarks.std(dim=(1, 2), keepdim=True)).flatten(1)
