"""Cohorts: images of named patients with hashes, splits and, where there are any, reference masks."""

from brain_edge.evaluation.cohort.cases import (
    Case,
    Cohort,
    ResolvedCase,
    fetch_cohort,
    load_case,
    load_cohort,
    resolve,
    shipped_cohorts,
    study_for,
)
from brain_edge.evaluation.cohort.check import (
    CheckedCase,
    RefusedCase,
    check_case,
    check_cohort,
    distinct_cases,
    require_cases,
)
from brain_edge.evaluation.cohort.create import CohortPlan, Grouping, create_cohort
from brain_edge.evaluation.cohort.manifest import (
    CaseEntry,
    CohortManifest,
    FileEntry,
    Split,
    parse_manifest,
    read_manifest,
)

__all__ = [
    "Case",
    "CaseEntry",
    "CheckedCase",
    "Cohort",
    "CohortManifest",
    "CohortPlan",
    "FileEntry",
    "Grouping",
    "RefusedCase",
    "ResolvedCase",
    "Split",
    "check_case",
    "check_cohort",
    "create_cohort",
    "distinct_cases",
    "fetch_cohort",
    "load_case",
    "load_cohort",
    "parse_manifest",
    "read_manifest",
    "require_cases",
    "resolve",
    "shipped_cohorts",
    "study_for",
]
