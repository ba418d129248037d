"""Wheelhouse: the install folder for a workstation without network, made by one command on another machine.

::

    OUT/
        install.py          makes an environment from this folder alone
        requirements.txt    every wheel with its exact version and SHA-256
        wheels/             brain-edge and its requirements for the platform
        packages/           the requested model packages
        wheelhouse.json     platform and Python of the workstation
        README.txt, LICENCES.txt
        SHA256SUMS          SHA-256 of every file above
"""

from brain_edge.deploy.wheelhouse.make import Wheelhouse, WheelhousePlan, make_wheelhouse
from brain_edge.deploy.wheelhouse.target import Platform, Target

__all__ = ["Platform", "Target", "Wheelhouse", "WheelhousePlan", "make_wheelhouse"]
