"""What people look at: pictures of masks over anatomy. Needs the extra `report` (matplotlib)."""
