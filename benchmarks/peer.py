"""The peer's environment, .venv-peer: Neural Tangents 0.6.5 on the last JAX it runs on. Made once."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv-peer"
PYTHONS = ((3, 11), (3, 12))
REQUIREMENTS = ("jax==0.4.35", "jaxlib==0.4.35", "numpy<2.1", "scipy<1.14", "frozendict", "absl-py")
EXPERIMENTAL = "from . import experimental"
PACKAGE = "neural-tangents==0.6.5"


def ensure_peer() -> Path:
    """The Python of .venv-peer, made first if need be."""
    python, done = ENVIRONMENT / "bin" / "python", ENVIRONMENT / ".installed"
    if done.exists():
        return python
    _run(find_python(), "-m", "venv", "--clear", str(ENVIRONMENT))
    pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _run(*pip, *REQUIREMENTS)
    # Its metadata asks for TensorFlow and tf2jax, which only its `experimental` part uses.
    _run(*pip, "--no-deps", PACKAGE)
    _drop_experimental_import()
    done.touch()
    return python


def find_python() -> str:
    """This Python if old enough, else one on the PATH."""
    if sys.version_info[:2] in PYTHONS:
        return sys.executable
    for major, minor in reversed(PYTHONS):
        candidate = shutil.which(f"python{major}.{minor}")
        # A version manager can leave a name on the PATH with nothing behind it.
        if candidate and subprocess.run([candidate, "--version"], capture_output=True, check=False).returncode == 0:
            return candidate
    raise SystemExit(
        f"This is Python {sys.version.split()[0]}; the peer's JAX 0.4.35 needs 3.11 or 3.12, and none is on the PATH. "
        "Install one (for instance python3.12) and run again."
    )


def _drop_experimental_import() -> None:
    """Take `from . import experimental`, which needs TensorFlow, out of its __init__.py."""
    (source,) = ENVIRONMENT.glob("lib/python*/site-packages/neural_tangents/__init__.py")
    lines = source.read_text().splitlines(keepends=True)
    source.write_text("".join(line for line in lines if line.strip() != EXPERIMENTAL))


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
