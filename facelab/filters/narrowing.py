"""The cuts that a layer's curve offers: from whole to narrowest, with what each loses of the curve.

Layers that can only be cut together go together, at one γ.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from facelab.filters.curve import Curve, knee_index
from facelab.filters.widths import Group

THIN = 40


@dataclass(frozen=True, eq=False)
class Path:
    """K cuts of one group of coupled layers, from the whole (γ = 0) to the narrowest.

    gamma (K,); excess: layer → (K,) (RMSE − min r) / (max r − min r), price (K,) their sum; stays (K, S) the sets of
    filters; out, into (K, P) the channels that the parts of the network then write and read.
    """

    group: Group
    gamma: np.ndarray
    price: np.ndarray
    excess: dict[str, np.ndarray]
    stays: np.ndarray

    @cached_property
    def out(self) -> np.ndarray:
        return self.stays @ self.group.out

    @cached_property
    def into(self) -> np.ndarray:
        return self.stays @ self.group.into


def path(group: Group, curves: dict[str, Curve], norms: dict, floor: float, multiple: int) -> Path:
    """The group at every γ that changes what its layers keep.

    norms: layer → (C,) of its filters, to choose of those that the LASSO path never takes in; floor: the share of a
    layer's filters that stays in any case (and 2 filters, where not 0); multiple: every width is rounded up to it.
    """
    share = {name: (c.rmse - c.rmse.min()) / (c.null_rmse - c.rmse.min()) for name, c in curves.items()}
    # Eq. 4 is strict: a model is in for every γ above its own share
    steps = np.unique(np.concatenate([[], *share.values()]) * (1 + 1e-9) + 1e-12)
    gammas, stays, excess = [0.0], [np.ones(len(group.out), bool)], {name: [0.0] for name in curves}
    for gamma in steps[steps < 1]:
        at = {name: knee_index(c.num, c.rmse, c.null_rmse, gamma) for name, c in curves.items()}
        order = {name: _order(curves[name], index, norms[name]) for name, index in at.items()}
        stay = group.stay({name: order[name][: curves[name].num[index]] for name, index in at.items()})
        stay = _widen(group, stay, order, floor, multiple)
        if len(stays) > 1 and (stay == stays[-1]).all():
            continue
        gammas.append(gamma)
        stays.append(stay)
        for name, index in at.items():
            excess[name].append(share[name][index])
    excess = {name: np.array(each) for name, each in excess.items()}
    price = sum(excess.values(), np.zeros(len(gammas)))
    return Path(group, np.array(gammas), price, excess, np.array(stays))


def thinner(group: Group, norms: dict, multiple: int) -> Path:
    """A group without a knee, with fewer and fewer of its filters, those of the largest L1 norm; K = `THIN` shares, the
    same for every group."""
    order = {name: np.argsort(-norms[name], kind="stable") for name in group.member}
    shares, stays = np.geomspace(1, 0.02, THIN), []
    for share in shares:
        keep = {name: index[: int(np.ceil(share * len(index)))] for name, index in order.items()}
        stays.append(_widen(group, group.stay(keep), order, 0.02, multiple))
    return Path(group, np.full(THIN, np.nan), np.zeros(THIN), {}, np.array(stays))


def _order(curve: Curve, index: int, norm: np.ndarray) -> np.ndarray:
    """The filters of a layer: those kept at this point, those that come in later on the path, the rest by L1 norm."""
    later = (curve.coef[index:] != 0).any(2)
    return np.lexsort((-norm, np.where(later.any(0), later.argmax(0), len(later))))


def _widen(group: Group, stays: np.ndarray, order: dict, floor: float, multiple: int) -> np.ndarray:
    """More sets, in the order of their first filters, until every layer is as wide as it should be. Sets that several
    layers share are taken for the narrowest of them, further ones for the wider layers alone."""
    stays, rank = stays.copy(), np.full(len(stays), np.inf)
    for name, index in order.items():
        np.minimum.at(rank, group.member[name][index], np.arange(len(index)))
    done = np.zeros(len(stays), bool)
    for member in sorted(group.member.values(), key=len):
        each, c = np.bincount(member, minlength=len(stays)), len(member)
        width = each[stays].sum()
        wanted = max(width, *((2, int(np.ceil(floor * c))) if floor else (1,)))
        wanted = min(c, -(-wanted // multiple) * multiple)
        free = np.flatnonzero(~stays & ~done & (each > 0))
        for s in free[np.argsort(rank[free], kind="stable")]:
            if width >= wanted:
                break
            stays[s], width = True, width + each[s]
        done |= each > 0
    return stays
