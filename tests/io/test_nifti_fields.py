"""Fields of NIfTI headers, judged by nibabel to the last bit."""

from __future__ import annotations

import re

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.spatialimages import HeaderDataError

from brain_edge.io.nifti_fields import NIFTI_1, NIFTI_2, OTHER_TYPES, VOXEL_TYPES, NiftiFields

KINDS = {nib.Nifti1Header: NIFTI_1, nib.Nifti2Header: NIFTI_2}
QUATERNION = ("quatern_b", "quatern_c", "quatern_d")
NUMBERS = st.floats(-1.25, 1.25, width=32)
HEADERS = pytest.mark.parametrize("kind", KINDS)
ORDERS = pytest.mark.parametrize("order", ["<", ">"])


@HEADERS
def test_names_types_and_places_of_all_fields_are_those_of_nibabel(kind):
    assert KINDS[kind] == kind.template_dtype.newbyteorder("<")


@HEADERS
@ORDERS
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_header_gives_the_transforms_of_nibabel_or_its_error(kind, order, data):
    """Quaternions within, at and past a length of 1; spacings and qfacs of all signs."""
    judge = kind(endianness=order)
    vector = np.array(data.draw(st.tuples(NUMBERS, NUMBERS, NUMBERS)))
    if data.draw(st.booleans()) and np.linalg.norm(vector) > 0.1:
        vector /= np.linalg.norm(vector)  # half a turn: the fourth number is 0 or its rounding
    for name, number in zip(QUATERNION, vector, strict=True):
        judge[name] = number
    judge["pixdim"][:4] = data.draw(st.sampled_from([1, -1, 0])), *data.draw(st.tuples(*[st.floats(-0.1, 3)] * 3))
    for name in ("qoffset_x", "srow_x", "srow_y", "srow_z"):
        judge[name] = data.draw(st.floats(-300, 300))
    fields = NiftiFields.parsed(judge.binaryblock, order)
    np.testing.assert_array_equal(fields.get_sform(), judge.get_sform())
    try:
        expected = judge.get_qform()
    except (ValueError, HeaderDataError) as error:
        with pytest.raises(ValueError, match=re.escape(str(error)[:20])):
            fields.get_qform()
        return
    np.testing.assert_array_equal(fields.get_qform(), expected)
    assert fields.binaryblock == judge.binaryblock


@HEADERS
@pytest.mark.parametrize("voxel_type", sorted({np.dtype(each) for each in VOXEL_TYPES.values()}, key=str), ids=str)
@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 4, 5, 6)])
def test_a_new_header_has_the_bytes_of_one_by_nibabel(kind, voxel_type, shape):
    judge = kind(endianness="<")
    judge.set_data_dtype(voxel_type)
    judge.set_data_shape(shape)
    judge["scl_slope"] = 0
    made = NiftiFields.new(NiftiFields.parsed(kind().binaryblock, "<"), shape, voxel_type)
    assert made.binaryblock == judge.binaryblock
    assert made.get_data_dtype() == voxel_type


@ORDERS
def test_every_voxel_type_of_nibabel_is_known_as_a_number_or_by_name(order):
    known = nib.nifti1.data_type_codes
    assert {int(code) for code in known.code if isinstance(code, int)} == set(VOXEL_TYPES) | set(OTHER_TYPES)
    for code, name in OTHER_TYPES.items():
        assert known.label[code] == name
    for code in VOXEL_TYPES:
        judge = nib.Nifti1Header(endianness=order)
        judge["datatype"] = code
        assert NiftiFields.parsed(judge.binaryblock, order).get_data_dtype() == judge.get_data_dtype()
