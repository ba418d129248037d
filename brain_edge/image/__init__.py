"""Images in space: geometry, volumes, resampling on a regular grid, agreement of two label maps. Arrays in and out."""
