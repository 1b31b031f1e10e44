"""The GPUs of a run on one machine: found by its Snakemake, which tells its jobs. Neither torch nor CUDA is loaded."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping

from icsd.core.errors import ClusterError
from icsd.core.gpus import POOL, VISIBLE, pool_text

TIMEOUT_S = 120  # eight GPUs take seconds where the driver keeps no state
# "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89…)", and below it "  MIG 3g.20gb Device 0: (UUID: MIG-c738…)"
_LINE = re.compile(r"^( *)(?:GPU|MIG) .*\(UUID: (\S+)\)", re.MULTILINE)
_ID = re.compile(r"\d+|(GPU|MIG)-\S+")


def announce_gpus(*, main: bool) -> int:
    """Write the GPUs of this machine into the environment of the jobs; return their number.

    Only the `main` process of a run does this. A cluster's job, which reads the Snakefile too, has the GPUs that the
    scheduler gave it; those of the login node, which it may inherit in the environment, are removed.
    """
    os.environ.pop(POOL, None)
    pool = find_gpus(os.environ) if main else {}
    if pool:
        os.environ[POOL] = pool_text(pool)
    return len(pool)


def find_gpus(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the GPUs that CUDA would use: the id of each, and a name that all runs on the machine have for it.

    CUDA_VISIBLE_DEVICES selects them, by number, UUID or MIG instance; CUDA ignores what follows an unknown one.
    Without it all count, with MIG instances in place of their GPU. The name is the UUID; without nvidia-smi it is the
    id.
    """
    chosen = environment.get(VISIBLE)
    if chosen is not None and not _ID.match(chosen.strip()):
        return {}
    listed = _listed()
    if chosen is None:
        return {unit: unit for units in listed or () for unit in units}
    pool = dict[str, str]()
    for text in map(str.strip, chosen.split(",")):
        name = text if listed is None and _ID.fullmatch(text) else _name(text, listed or [])
        if name is None:
            break
        if name not in pool.values():
            pool[text] = name
    return pool


def _name(text: str, listed: list[list[str]]) -> str | None:
    """Return the UUID of a number, or of the beginning of a UUID."""
    if text.isdecimal():
        return listed[int(text)][0] if int(text) < len(listed) else None
    if text.startswith("MIG-GPU-"):  # the older name of an instance, which nvidia-smi does not list
        return text
    units = [unit for units in listed for unit in units]
    return next((unit for unit in units if _ID.fullmatch(text) and unit.startswith(text)), None)


def _listed() -> list[list[str]] | None:
    """Return the UUID of each GPU, or those of its MIG instances; None without nvidia-smi, none without a driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise ClusterError(
            f"nvidia-smi -L has not listed the GPUs within {TIMEOUT_S} s: the driver hangs, and a restart of the "
            f"machine may help; `{VISIBLE}= snakemake` runs without GPUs"
        ) from None
    listed = list[list[str]]()
    for indent, uuid in _LINE.findall(done.stdout if done.returncode == 0 else ""):
        if not indent:
            listed.append([])
        listed[-1].append(uuid)
    return [units[1:] or units for units in listed]
