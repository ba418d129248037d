"""Everything that a workstation without network installs from: a folder made by one command on another machine.

::

    OUT/
        install.py          makes an environment from this folder, and looks at nothing else
        requirements.txt    every wheel with its exact version and SHA-256
        wheels/             brain-edge, and what it needs on that platform
        packages/           the model packages that were asked for
        wheelhouse.json     for which platform and Python
        README.txt, LICENCES.txt
        SHA256SUMS          of every file above
"""

from brain_edge.deploy.wheelhouse.make import Wheelhouse, WheelhousePlan, make_wheelhouse
from brain_edge.deploy.wheelhouse.target import Platform, Target

__all__ = ["Platform", "Target", "Wheelhouse", "WheelhousePlan", "make_wheelhouse"]
