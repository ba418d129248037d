"""What the folders of other programs say of their models: read as data, refused where it has no equivalent here."""
