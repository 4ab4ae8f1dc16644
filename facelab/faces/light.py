"""How a bust answers light: one key light with cast shadows, light from all sides, a light from behind, highlights.

Skin scatters light past the terminator; wrinkles and strands tilt the normal; hair shines in bands. Everything is
computed at the points the camera sees, in linear light.
"""

import torch
from torch.nn.functional import embedding_bag, normalize

from facelab.faces.bust import Bust
from facelab.faces.heads import LEFT_EYE, RIGHT_EYE, TEETH
from facelab.faces.paint import paint
from facelab.faces.raster import Seen, rasterise
from facelab.faces.raycast import vertex_normals


def reflected(bust: Bust, points, faces, seen: Seen, shot, turned: torch.Tensor, side: int) -> torch.Tensor:
    """(n, 3) linear light from the points `seen` in a side × side picture.

    points (v, 3) and faces (f, 3) int32: the bust in camera axes; shot: a `photo.Shot`; turned (3, 3): how its head is
    turned.
    """
    carried = torch.cat([points, vertex_normals(points, bust.faces), bust.where, bust.masks, bust.shade[:, None]], 1)
    at = embedding_bag(bust.faces[seen.face], carried, per_sample_weights=seen.weights, mode="sum")  # (n, 13)
    place, normal, where, masks, shade = at.split((3, 3, 3, 3, 1), 1)
    camera = torch.tensor([0.0, 0.0, shot.distance], device=points.device)
    towards = normalize(camera - place, dim=1)
    normal = normalize(normal, dim=1)
    facing = (normal * towards).sum(1, keepdim=True)
    edge = torch.where(facing < 0, normal - 2 * facing * towards, normal)  # smooth normals look away near an outline
    normal = torch.where(facing < -0.4, -normal, edge)  # and so does the back of a sheet
    surface = paint(bust.person, where, bust.part[seen.face], masks, shot.cloth)
    normal = bumped(normal, place, surface.relief / 1.16, seen.at, side)  # 1.16 × 0.1 m in half a head
    light = normalize(torch.tensor(shot.light, device=points.device), dim=0)
    reached = lit(points, faces, place, light)[:, None]
    part = bust.part[seen.face][:, None]  # eyes and teeth move out of the dark they were measured in
    eyes, teeth = (part == LEFT_EYE) | (part == RIGHT_EYE), part == TEETH
    shade = torch.where(eyes, shade.clamp(min=0.75), torch.where(teeth, 0.85, shade))
    reached = torch.where(teeth, reached.clamp(min=0.7), reached)
    wrap = torch.tensor([0.25, 0.12, 0.1], device=points.device)  # light that skin scatters past the terminator
    cosine = (normal @ light)[:, None]
    diffuse = ((cosine + wrap) / (1 + wrap)).clamp(min=0) * (0.5 + 0.5 * shade) * (0.15 + 0.85 * reached)
    sky = (0.72 + 0.28 * normal[:, 1:2]) * (0.25 + 0.75 * shade)
    half = normalize(towards + light, dim=1)
    shine = (normal * half).sum(1).clamp(min=0) ** surface.sharp * surface.gloss * (surface.sharp + 8) / 25
    shine = torch.lerp(shine, surface.gloss * _strand_shine(normal, half, light, turned), surface.hair)[:, None]
    grazing = (1 - (normal * towards).sum(1, keepdim=True).clamp(0, 1)) ** 4
    key, fill = (torch.tensor(c, device=points.device) for c in (shot.key, shot.fill))
    light_in = key * diffuse + fill * sky + shot.rim * grazing * (0.3 + 0.7 * shade)
    tint = torch.lerp(torch.ones_like(surface.albedo), 0.25 + 3 * surface.albedo, surface.hair[:, None])
    return surface.albedo * light_in + (key * reached * shine * tint + 0.12 * fill * grazing) * (0.3 + 0.7 * shade)


def _strand_shine(normal, half, light, turned) -> torch.Tensor:
    """(n,) the highlight of hair that falls down over the surface: sin(T, H)⁶⁰ with T along the strands, a band across
    them (Kajiya and Kay 1989)."""
    down = -turned[:, 1]
    strand = normalize(down - (normal @ down)[:, None] * normal + 0.1 * normal, dim=1)
    sine = (1 - (strand * half).sum(1) ** 2).clamp(min=0)
    return 0.35 * sine**30 * ((normal @ light) * 2).clamp(0, 1)


def bumped(normal, place, relief, at, side: int) -> torch.Tensor:
    """Normals (n, 3) tilted by the slope of the relief (n,), found from the neighbours in the picture.

    With σx, σy the steps in space and hx, hy the steps in height to the next column and row, the surface gradient is
    sign(d) (hx σy × N + hy N × σx), d = σx · (σy × N), and the new normal is parallel to |d| N minus it (Blinn 1978, in
    the form that needs no coordinates on the surface).
    """
    row = torch.full((side * side + 2 * side,), -1, dtype=torch.int64, device=at.device)
    row[at + side] = torch.arange(len(at), device=at.device)

    def steps(stride):
        here = torch.arange(len(at), device=at.device)
        after, before = row[at + side + stride], row[at + side - stride]
        after, before = torch.where(after < 0, here, after), torch.where(before < 0, here, before)
        space, height = place[after] - place[before], relief[after] - relief[before]
        broken = (space.norm(dim=1) > 0.12) | (height.abs() > 0.05)  # the edge of something
        return space, torch.where(broken, 0.0, height)[:, None]

    sx, hx = steps(1)
    sy, hy = steps(side)
    a, b = torch.linalg.cross(sy, normal), torch.linalg.cross(normal, sx)
    d = (sx * a).sum(1, keepdim=True)
    return normalize(d.abs() * normal - d.sign() * (hx * a + hy * b) + 1e-9 * normal, dim=1)


def lit(points, faces, place, light, side: int = 320) -> torch.Tensor:
    """(n,) share of the key light that reaches the places (n, 3): a shadow map of side × side points (Williams 1978),
    looked up at five of them.

    points (v, 3), faces (f, 3) int32: what throws the shadows; light (3,): the unit direction to it.
    """
    upright = [0.0, 1.0, 0.0] if light[1].abs() < 0.99 else [0.0, 0.0, 1.0]  # not along the light itself
    helper = torch.tensor(upright, device=light.device)
    across = normalize(torch.linalg.cross(helper, light), dim=0)
    frame = torch.stack([across, torch.linalg.cross(light, across), light], 1)  # (3, 3)
    zoom = side / 4.8

    def seen_from_light(x):
        x = x @ frame
        return torch.cat([x[:, :2] * zoom + side / 2, 1 / (8 - x[:, 2:])], 1)

    found = rasterise(seen_from_light(points), faces, side)
    nearest = torch.zeros(side * side, device=light.device)
    nearest[found.at] = found.nearness
    x = seen_from_light(place)
    depth = 1 / x[:, 2]
    share = torch.zeros_like(depth)
    for dx, dy in ((0, 0), (2, 1), (-1, 2), (-2, -1), (1, -2)):
        column = (x[:, 0] + dx).round().long().clamp(0, side - 1)
        line = (x[:, 1] + dy).round().long().clamp(0, side - 1)
        near = nearest[line * side + column]
        gap = depth - 1 / near.clamp(min=1e-3)  # how far behind what the light meets first
        share += torch.where(near > 0, ((0.12 - gap) / 0.06).clamp(0, 1), 1.0)
    return share / 5
