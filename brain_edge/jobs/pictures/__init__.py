"""Pictures of masks over anatomy, and the page of a batch. Pictures need the extra `report` (matplotlib)."""
