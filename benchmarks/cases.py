"""What is measured: MLPs, (Dense, activation) depth times and a Dense, in float32. Imports in both environments."""

from dataclasses import dataclass, replace

SQRT2 = 2**0.5
DEPTHS = (1, 3, 10, 50)
DISTANCES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
NORM_RATIOS = (1.0, 1.3)
QUICK_N = 300


@dataclass(frozen=True)
class Case:
    """x1 (n, width) and x2 (n, width) or None  ->  the kernels named in `get`; is_vjp: the pullback of one to x1."""

    name: str
    depth: int
    activation: str = "Relu"
    n: int = 2000
    width: int = 784
    W_std: float = SQRT2
    b_std: float | None = 0.1
    get: tuple[str, ...] = ("ntk",)
    has_x2: bool = True
    is_vjp: bool = False
    # x2 is each row of x1 again, at every distance and norm ratio; only accuracy counts.
    is_near_duplicates: bool = False


def _timed() -> list[Case]:
    cases = [Case(f"depth_{depth}", depth) for depth in DEPTHS]
    cases += [Case(f"depth_{depth}_self", depth, has_x2=False) for depth in DEPTHS]
    return [
        *cases,
        Case("depth_50_both", 50, get=("nngp", "ntk")),
        Case("depth_50_no_bias", 50, b_std=None),
        Case("depth_10_no_bias_width_32", 10, width=32, b_std=None),
        Case("depth_10_vjp", 10, n=500, is_vjp=True),
        *_activations(),
    ]


def _activations() -> list[Case]:
    """tanh has no closed form: the peer sums over 25 x 25 nodes, which for 2,000 rows takes 30 GB at once."""
    return [
        Case(f"{activation.lower()}_{width}", 3, activation, n, width, W_std=1.5)
        for activation, n in (("Erf", 2000), ("Gelu", 2000), ("Tanh", 1000))
        for width in (784, 32)
    ]


def _near_duplicates() -> list[Case]:
    return [
        Case(f"near_duplicates_depth_{depth}_{label}", depth, n=4, width=32, b_std=b_std, is_near_duplicates=True)
        for depth in (1, 10, 50)
        for label, b_std in (("bias", 0.1), ("no_bias", 0.0))
    ]


CASES: tuple[Case, ...] = (*_timed(), *_near_duplicates())


def find(name: str) -> Case:
    """The case of that name."""
    for case in CASES:
        if case.name == name:
            return case
    raise KeyError(f"no case {name!r}; have {[case.name for case in CASES]}")


def quick(case: Case) -> Case:
    """The same case with few rows."""
    return replace(case, n=min(case.n, QUICK_N))
