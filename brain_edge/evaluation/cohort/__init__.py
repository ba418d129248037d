"""Cohorts: images of named patients with hashes, splits and, if available, reference masks."""

from brain_edge.evaluation.cohort.cases import Case as Case
from brain_edge.evaluation.cohort.cases import Cohort as Cohort
from brain_edge.evaluation.cohort.cases import ResolvedCase as ResolvedCase
from brain_edge.evaluation.cohort.cases import fetch_cohort as fetch_cohort
from brain_edge.evaluation.cohort.cases import load_case as load_case
from brain_edge.evaluation.cohort.cases import load_cohort as load_cohort
from brain_edge.evaluation.cohort.cases import resolve as resolve
from brain_edge.evaluation.cohort.cases import sequences_for as sequences_for
from brain_edge.evaluation.cohort.cases import shipped_cohorts as shipped_cohorts
from brain_edge.evaluation.cohort.cases import study_for as study_for
from brain_edge.evaluation.cohort.check import CheckedCase as CheckedCase
from brain_edge.evaluation.cohort.check import RefusedCase as RefusedCase
from brain_edge.evaluation.cohort.check import check_case as check_case
from brain_edge.evaluation.cohort.check import check_cohort as check_cohort
from brain_edge.evaluation.cohort.check import distinct_cases as distinct_cases
from brain_edge.evaluation.cohort.check import limits_of_images as limits_of_images
from brain_edge.evaluation.cohort.check import require_cases as require_cases
from brain_edge.evaluation.cohort.create import CohortPlan as CohortPlan
from brain_edge.evaluation.cohort.create import Grouping as Grouping
from brain_edge.evaluation.cohort.create import create_cohort as create_cohort
from brain_edge.evaluation.cohort.manifest import CaseEntry as CaseEntry
from brain_edge.evaluation.cohort.manifest import CohortManifest as CohortManifest
from brain_edge.evaluation.cohort.manifest import FileEntry as FileEntry
from brain_edge.evaluation.cohort.manifest import Split as Split
from brain_edge.evaluation.cohort.manifest import parse_manifest as parse_manifest
from brain_edge.evaluation.cohort.manifest import read_manifest as read_manifest
