"""Model folders of other programs: read as data, refused where something has no equivalent here."""
